"""Bill of materials of a model: CycloneDX 1.6 with a model card, the data and the libraries that trained it."""

from __future__ import annotations

import uuid
from typing import Any

import mnistflow
from mnistflow.provenance import model_card
from mnistflow.provenance.facts import Facts, Metric

# Entries of a run's environment that are not packages.
_MACHINE = {"python", "platform", "cpu", "cpu_flags", "cores"}
DATA = "data"  # references within the document
MODEL = "model"


def describe(facts: Facts) -> dict[str, Any]:
    """Return the document. The same run gives the same one."""
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, facts.run_id)}",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "mnistflow", "version": mnistflow.__version__}]},
            "component": {
                "type": "machine-learning-model",
                "bom-ref": MODEL,
                "name": facts.name,
                "version": facts.evaluation.model_sha256,
                "hashes": [{"alg": "SHA-256", "content": facts.evaluation.model_sha256}],
                "modelCard": _card(facts),
                "properties": [
                    {"name": "mnistflow:run", "value": facts.run_id},
                    {"name": "mnistflow:commit", "value": facts.commit},
                ],
            },
        },
        "components": [_data(facts), *_libraries(facts)],
        "dependencies": [{"ref": MODEL, "dependsOn": [DATA, *(one["bom-ref"] for one in _libraries(facts))]}],
    }


def _card(facts: Facts) -> dict[str, Any]:
    tensors = {
        kind: [{"format": f"{one.name}: {one.datatype} {list(one.shape)}"} for one in each]
        for kind, each in facts.tensors.items()
    }
    return {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": facts.task.name,
            "modelArchitecture": facts.family,
            "datasets": [{"ref": DATA}],
            **tensors,
        },
        "quantitativeAnalysis": {"performanceMetrics": [_metric(one) for one in facts.metrics()]},
        "considerations": {"technicalLimitations": list(model_card.limits(facts))},
    }


def _metric(metric: Metric) -> dict[str, Any]:
    low, high = metric.interval or (None, None)
    return {
        "type": metric.name,
        "value": str(metric.value),
        **({"slice": metric.part} if metric.part else {}),
        **({"confidenceInterval": {"lowerBound": str(low), "upperBound": str(high)}} if metric.interval else {}),
    }


def _data(facts: Facts) -> dict[str, Any]:
    data = facts.data
    return {
        "type": "data",
        "bom-ref": DATA,
        "name": data["name"],
        "version": data["sha256"],
        "hashes": [{"alg": "SHA-256", "content": data["sha256"]}],
        "data": [
            {"type": "dataset", "name": name, "contents": {"properties": _split(split)}}
            for name, split in data["splits"].items()
        ],
    }


def _split(split: dict[str, Any]) -> list[dict[str, str]]:
    return [{"name": f"mnistflow:{name}", "value": str(value)} for name, value in split.items()]


def _libraries(facts: Facts) -> list[dict[str, Any]]:
    return [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{name}@{version}",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name}@{version}",
        }
        for name, version in sorted(facts.environment.items())
        if name not in _MACHINE
    ]
