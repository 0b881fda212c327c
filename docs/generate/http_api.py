"""HTTP API reference: endpoints, parameters, answers and schemas, from the server's own openapi.json."""

import json
from collections.abc import Iterator
from typing import Any

import json_schema
import markup

DOCUMENT = markup.ROOT / "serving/static/openapi.json"
Schema = dict[str, Any]


def page() -> str:
    """Return the page."""
    document = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    operations = list(_operations(document))
    overview = markup.table(
        ["endpoint", "what it does"],
        [(f"[{markup.breakable(title)}](#{_anchor(entry)})", entry["summary"]) for title, entry in operations],
    )
    parts = [overview]
    for tag in document["tags"]:
        parts += [f"## {tag['name']}", tag.get("description", "")]
        parts += [
            part
            for title, operation in operations
            if tag["name"] in operation["tags"]
            for part in _endpoint(document, title, operation)
        ]
    parts.append("## Schemas")
    for name, schema in document["components"]["schemas"].items():
        parts += [f"### {name} {{ #schema-{name.lower()} }}", *json_schema.describe(schema)]
    return markup.page("HTTP API", "serving/static/openapi.json", document["info"]["description"], *parts)


def _operations(document: Schema) -> Iterator[tuple[str, Schema]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method in ("get", "post", "put", "delete"):
                shared = [*methods.get("parameters", []), *operation.get("parameters", [])]
                yield f"{method.upper()} {path}", {**operation, "parameters": shared}


def _anchor(operation: Schema) -> str:
    return str(operation["operationId"])


def _endpoint(document: Schema, title: str, operation: Schema) -> Iterator[str]:
    yield f"### `{title}` {{ #{_anchor(operation)} }}"
    yield f"{operation['summary']}."
    yield operation.get("description", "")
    if operation["parameters"]:
        parameters = [_parameter(_resolved(document, entry)) for entry in operation["parameters"]]
        yield markup.table(["parameter", "in", "type", "meaning"], parameters)
    if "requestBody" in operation:
        yield "Body: " + "; ".join(_content(operation["requestBody"])) + "."
    answers = [(status, _resolved(document, entry)) for status, entry in operation["responses"].items()]
    rows = [(status, answer.get("description", ""), "; ".join(_content(answer))) for status, answer in answers]
    yield markup.table(["status", "meaning", "body"], rows)


def _parameter(parameter: Schema) -> tuple[str, str, str, str]:
    return (
        f"`{parameter['name']}`",
        parameter["in"],
        json_schema.kind(parameter["schema"]),
        parameter.get("description", ""),
    )


def _content(body: Schema) -> Iterator[str]:
    for media, entry in body.get("content", {}).items():
        schema = entry.get("schema", {})
        described = f" ({schema['description']})" if "description" in schema else ""
        named = media == "application/json" and "$ref" in schema
        yield json_schema.kind(schema) if named else f"`{media}`: {json_schema.kind(schema)}{described}"


def _resolved(document: Schema, entry: Schema) -> Schema:
    """Return an entry with its reference into `components` followed."""
    for part in entry.get("$ref", "#").split("/")[1:]:
        document = document[part]
    return document if "$ref" in entry else entry
