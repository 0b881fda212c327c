"""Manifest reference: the fields of a published version's model.json, from its JSON Schema."""

import json

import json_schema
import markup

SCHEMA = markup.ROOT / "schemas/model.schema.json"


def page() -> str:
    """Return the page."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    parts = list(json_schema.describe(schema))
    for name, entry in schema.get("$defs", {}).items():
        parts += [f"## {name} {{ #schema-{name.lower()} }}", *json_schema.describe(entry)]
    return markup.page(schema["title"], "schemas/model.schema.json", *parts)
