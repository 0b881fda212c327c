"""params.yaml reference: every parameter with its type, default and comment, from the file and its pydantic models."""

from collections.abc import Iterator
from typing import Any

import markup
import yaml

from mnistflow.config import Config

PARAMS = markup.ROOT / "params.yaml"
SHOWN_AS_YAML = ("presets", "space")  # their keys are parameters themselves
SYMBOLS = {"minimum": "≥", "exclusiveMinimum": "&gt;", "maximum": "≤", "exclusiveMaximum": "&lt;"}
Schema = dict[str, Any]
Mapping = yaml.MappingNode


def page() -> str:
    """Return the page."""
    text = PARAMS.read_text(encoding="utf-8")
    root = yaml.compose(text)
    if not isinstance(root, Mapping):
        raise TypeError("params.yaml is not a mapping")
    lines = text.splitlines()
    schema = Config.model_json_schema()
    parts = []
    for key, value in root.value:
        parts.append(f"## {key.value}")
        if key.value in SHOWN_AS_YAML:
            parts.append(_source(lines, key, value))
            continue
        parts.extend(_section(lines, schema, _resolved(schema, schema["properties"][key.value]), key.value, value))
    return markup.page(
        "params.yaml",
        "params.yaml",
        "`-S KEY=VALUE` overrides a parameter for one run, `--preset NAME` a named set. Unknown keys are refused.",
        *parts,
    )


def _section(lines: list[str], root: Schema, schema: Schema, prefix: str, node: Mapping) -> Iterator[str]:
    """Yield a section's table, then the tables of the sections in it."""
    rows, nested = [], []
    for key, value in node.value:
        name = f"{prefix}.{key.value}"
        field = _resolved(root, schema.get("properties", {}).get(key.value, {}))
        block = isinstance(value, Mapping) and not value.flow_style
        if key.value in SHOWN_AS_YAML:
            nested += [f"### {name}", _source(lines, key, value)]
        elif block:
            nested += [f"### {name}", _comment(lines, key), *_section(lines, root, field, name, value)]
        else:
            default = lines[value.start_mark.line][value.start_mark.column : _end(value, lines)]
            meaning = markup.with_type(_comment(lines, value), _kind(root, field))
            rows.append((markup.code(key.value), markup.code(default), meaning))
    if rows:
        yield markup.table(["key", "default", "meaning"], rows)
    yield from filter(None, nested)


def _end(value: yaml.Node, lines: list[str]) -> int:
    one_line = value.end_mark.line == value.start_mark.line
    return int(value.end_mark.column) if one_line else len(lines[value.start_mark.line])


def _comment(lines: list[str], node: yaml.Node) -> str:
    rest = lines[node.end_mark.line][node.end_mark.column :] if node.end_mark.line < len(lines) else ""
    return rest.partition("# ")[2].strip()


def _source(lines: list[str], key: yaml.Node, value: yaml.Node) -> str:
    last = value.end_mark.line + bool(value.end_mark.column)
    block = lines[key.start_mark.line : last]
    indent = key.start_mark.column
    return "```yaml\n" + "\n".join(line[indent:] for line in block) + "\n```"


def _resolved(root: Schema, schema: Schema) -> Schema:
    """Return a schema with its reference into `$defs` followed."""
    name = schema.get("$ref", "").removeprefix("#/$defs/")
    resolved: Schema = root["$defs"][name] if name else schema
    return resolved


def _kind(root: Schema, schema: Schema) -> str:
    """Return the type of a parameter and its limits in a few words."""
    schema = _resolved(root, schema)
    if "anyOf" in schema:
        return " or ".join(_kind(root, option) for option in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(markup.code(value) for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_kind(root, schema.get('items', {}))}"
    limits = " and ".join(f"{SYMBOLS[key]} {value:,}" for key, value in schema.items() if key in SYMBOLS)
    return f"{schema.get('type', 'any')} {limits}".strip()
