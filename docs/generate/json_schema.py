"""JSON Schema as Markdown: types, and tables of properties."""

from collections.abc import Iterator
from typing import Any

import markup

Schema = dict[str, Any]


def describe(schema: Schema) -> Iterator[str]:
    """Yield the description of a schema and the table of its properties."""
    yield schema.get("description", "")
    items = schema.get("items", {})
    if "properties" in items:
        yield "A list of these:"
        schema = items
    properties = schema.get("properties", {})
    if properties:
        needed = schema.get("required", [])
        rows = [
            (f"`{name}`", "yes" if name in needed else "", markup.with_type(entry.get("description", ""), kind(entry)))
            for name, entry in _flat(properties)
        ]
        yield markup.table(["property", "required", "meaning"], rows)
    else:
        yield f"{kind(schema)}."


def _flat(properties: Schema, prefix: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield properties by their dotted names, those of nested objects and of objects in lists too."""
    for name, entry in properties.items():
        yield prefix + name, entry
        inner = entry.get("items", entry)
        yield from _flat(inner.get("properties", {}), f"{prefix}{name}{'[]' if 'items' in entry else ''}.")


def kind(schema: Schema) -> str:
    """Return the type of a value in a few words; named schemas are links to their sections."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#schema-{name.lower()})"
    for choice in ("oneOf", "anyOf"):
        if choice in schema:
            return " or ".join(kind(entry) for entry in schema[choice])
    if "enum" in schema:
        return ", ".join(markup.code(value) for value in schema["enum"])
    if "const" in schema:
        return markup.code(schema["const"])
    found = schema.get("type", "any")
    names = found if isinstance(found, list) else [found]
    if "array" in names and "items" in schema:
        return " or ".join(f"list of {kind(schema['items'])}" if name == "array" else name for name in names)
    return " or ".join(names)
