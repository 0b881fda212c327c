"""Description of a model's data set in Croissant 1.0, as JSON-LD (https://docs.mlcommons.org/croissant)."""

from __future__ import annotations

from typing import Any

from mnistflow.provenance.facts import Facts

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
# Terms of Croissant's own vocabulary. Those of schema.org and of its kinds of values follow.
_TERMS = (
    "citeAs",
    "column",
    "equivalentProperty",
    "extract",
    "field",
    "fileProperty",
    "fileObject",
    "fileSet",
    "format",
    "includes",
    "isLiveDataset",
    "jsonPath",
    "key",
    "md5",
    "parentField",
    "path",
    "recordSet",
    "references",
    "regex",
    "repeated",
    "replace",
    "samplingRate",
    "separator",
    "source",
    "subField",
    "transform",
)
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS},
}


def describe(facts: Facts) -> dict[str, Any]:
    """Return the description: the raw files with their hashes and sources, and the splits that were made of them."""
    data = facts.data
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": data["name"],
        "description": _description(facts),
        "version": data["sha256"],
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": name,
                "name": name,
                "contentUrl": data["sources"].get(name, name),
                "contentSize": f"{file['bytes']} B",
                "encodingFormat": "application/gzip" if name.endswith(".gz") else "application/octet-stream",
                "sha256": file["sha256"],
            }
            for name, file in data["raw"].items()
        ],
        "recordSet": [_splits(facts)],
    }


def _description(facts: Facts) -> str:
    data = facts.data
    classes = f", {len(data['classes'])} classes" if data["classes"] else ""
    feedback = data["feedback"]["examples"]
    return (
        f"Data set {data['name']} for {data['task']}{classes}, inputs of shape {data['input_shape']}, as mnistflow has "
        f"split it; {feedback} of the training examples are users' feedback."
    )


def _splits(facts: Facts) -> dict[str, Any]:
    kinds = {"name": "sc:Text", "examples": "sc:Integer", "sha256": "sc:Text"}
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "key": {"@id": "splits/name"},
        "field": [
            {"@type": "cr:Field", "@id": f"splits/{field}", "name": field, "dataType": kind}
            for field, kind in kinds.items()
        ],
        "data": [
            {"splits/name": name, "splits/examples": split["examples"], "splits/sha256": split["sha256"]}
            for name, split in facts.data["splits"].items()
        ],
    }
