"""params.yaml reference: every parameter with its type, default and comment, from the file and its pydantic models."""

import json
from collections.abc import Iterator
from typing import Any

import markup
import yaml

from mnistflow.config import Config

PARAMS = markup.ROOT / "params.yaml"
SHOWN_AS_YAML = ("presets", "space")  # their keys are parameters themselves
SYMBOLS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
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
        "`-S KEY=VALUE` overrides a parameter for one run, `--preset NAME` a named set. Unknown keys are refused. "
        "A key that is missing, such as one that an update has added, is an error that names its default and its "
        "section. Only keys of `train.augment` (then 0), of `train.distillation` and of the model families may be left "
        "out.",
        *parts,
    )


def _section(lines: list[str], root: Schema, schema: Schema, prefix: str, node: Mapping) -> Iterator[str]:
    """Yield a section's table, then the tables of the sections in it."""
    rows, nested = [], []
    for key, value in node.value:
        name = f"{prefix}.{key.value}"
        field = _resolved(root, schema.get("properties", {}).get(key.value, {}))
        if key.value in SHOWN_AS_YAML:
            nested += [f"### {name}", _source(lines, key, value)]
        elif isinstance(value, Mapping) and _is_block(value):
            nested += [f"### {name}", _comment(lines, key), *_section(lines, root, field, name, value)]
        else:
            comment = _comment(lines, key)
            default = (
                json.dumps(yaml.safe_load(yaml.serialize(value))) if _is_block(value) else _as_written(lines, value)
            )
            rows.append((markup.code(key.value), markup.code(default), markup.with_type(comment, _kind(root, field))))
    if rows:
        yield markup.table(["key", "default", "meaning"], rows)
    yield from filter(None, nested)


def _is_block(value: yaml.Node) -> bool:
    """Return whether a value is a list or mapping written over several lines."""
    return isinstance(value, yaml.CollectionNode) and not value.flow_style


def _as_written(lines: list[str], value: yaml.Node) -> str:
    return lines[value.start_mark.line][value.start_mark.column : value.end_mark.column]


def _comment(lines: list[str], key: yaml.Node) -> str:
    """Return the comment on the line of a key; no value in the file holds a `#`."""
    return lines[key.start_mark.line].partition("# ")[2].strip()


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
    limits = " and ".join(f"{symbol} {schema[key]:,}" for key, symbol in SYMBOLS.items() if key in schema)
    return f"{schema.get('type', 'any')} {limits}".strip()
