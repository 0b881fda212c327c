"""MLflow's scoring protocol, for clients of its server: `/invocations`, `/ping`, `/health` and `/version`.

Responses have the form of models of MLflow's `onnx` flavour.
https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/
"""

import csv
import io
import math
from collections.abc import Callable, Mapping
from itertools import chain, islice
from typing import Any

from serving.engine.data_plane import DataPlane
from serving.errors import InvalidRequestError, UnsupportedMediaError
from serving.http.body_parser import BodyParser
from serving.http.request import Request
from serving.http.response import JSON, Response, json_response
from serving.http.router import Route
from serving.protocol.arrays import array_from_values
from serving.protocol.json_fields import as_object, parse_json
from serving.protocol.tensors import Array, TensorSpec
from serving.settings import Settings

CSV = "text/csv"


class InvocationsEndpoints:
    """Endpoints /invocations, which runs the default model, /ping, /health and /version."""

    def __init__(self, plane: DataPlane, settings: Settings, version: str, body_parser: BodyParser) -> None:
        self._plane = plane
        self._settings = settings
        self._version = version
        self._body_parser = body_parser

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/invocations", self.invoke),
            Route("GET", "/ping", self.ping, is_open=True),
            Route("GET", "/health", self.ping, is_open=True),
            Route("GET", "/version", self.version),
        ]

    async def ping(self, _: Request) -> Response:
        await self._plane.require_ready()
        return json_response({})

    async def version(self, _: Request) -> Response:
        return Response(self._version.encode(), media_type="text/plain")

    async def invoke(self, request: Request) -> Response:
        media = request.media_type
        if media not in ("", JSON, CSV):
            raise UnsupportedMediaError(f"send {CSV}, or JSON with one of: {', '.join(READERS)}")
        body = await request.body(self._settings.max_body_bytes, self._settings.receive_seconds)
        model = self._plane.models.default()
        if len(model.inputs) != 1:
            raise InvalidRequestError(f"{model.name} has several inputs: use /v2/models/{model.name}/infer")
        (spec,) = model.inputs.values()

        def parse() -> Array:
            return parse_rows(body, media, spec, self._settings.max_rows)

        inputs = {spec.name: await self._body_parser.run(parse, len(body), request.is_disconnected)}
        _, arrays = await self._plane.infer(model, inputs, list(model.outputs), request.is_disconnected, request.id)
        return json_response({"predictions": arrays})


def parse_rows(body: bytes, media_type: str, spec: TensorSpec, max_rows: int) -> Array:
    """Parse rows in CSV, or in any of the four forms of JSON; columns count in their order, whatever their names.

    Args:
        body: of the request.
        media_type: of the body.
        spec: the model's input.
        max_rows: largest batch.

    Returns:
        An array of shape [rows, *spec.shape[1:]].

    Raises:
        InvalidRequestError: the body has no such rows, too many, or they do not fit the input.
    """
    if -1 in spec.shape[1:]:
        raise InvalidRequestError("this model has inputs of variable size: use /v2/models/.../infer")
    size = math.prod(spec.shape[1:])
    rows = _csv(body, size, max_rows) if media_type == CSV else _json(body, spec, max_rows)
    return array_from_values(_flattened(rows, size), spec, (len(rows), *spec.shape[1:]))


def _flattened(rows: list[Any], size: int) -> list[Any]:
    """Return the values of rows that are flat, or all nested alike."""
    error = InvalidRequestError(f"every row must have {size} values")
    level = rows
    while level and isinstance(level[0], list):
        width = len(level[0])
        # The next level is only built if it is within the limits, whatever is nested in this one.
        if len(level) * width > len(rows) * size or {*map(type, level)} != {list} or {*map(len, level)} != {width}:
            raise error
        level = list(chain.from_iterable(level))
    if len(level) != len(rows) * size:
        raise error
    return level


def _checked(rows: Any, max_rows: int) -> list[Any]:
    """Return rows that have to be a list of 1 to `max_rows`, before each of them is read."""
    if not isinstance(rows, list) or not rows:
        raise InvalidRequestError("the request has no rows; in CSV, they follow a header line")
    if len(rows) > max_rows:
        raise InvalidRequestError(f"a request may have at most {max_rows} rows")
    return rows


def _csv(body: bytes, size: int, max_rows: int) -> list[Any]:
    """Return the rows after the header. Lines and values that are too many are not read, except the first."""
    lines = csv.reader(io.TextIOWrapper(io.BytesIO(body), "utf-8", newline=""))
    try:
        next(lines, None)
        filled = (line for line in lines if line)
        rows = [list(map(_number, line[: size + 1])) for line in islice(filled, max_rows + 1)]
    except (ValueError, csv.Error):
        raise InvalidRequestError("the CSV must be a header line followed by rows of numbers") from None
    return _checked(rows, max_rows)


def _number(text: str) -> float:
    return int(text) if text.isdecimal() else float(text)


def _json(body: bytes, spec: TensorSpec, max_rows: int) -> list[Any]:
    """Return the rows of any of the four forms."""
    tree = parse_json(body)
    form = next((form for form in READERS if isinstance(tree, dict) and form in tree), None)
    if form is None:
        raise InvalidRequestError(f"the body must be a JSON object with one of: {', '.join(READERS)}")
    return READERS[form](tree[form], spec, max_rows)


def _split(value: Any, _: TensorSpec, max_rows: int) -> list[Any]:
    table = as_object(value, "dataframe_split")
    rows, columns = _checked(table.get("data"), max_rows), table.get("columns")
    if columns is not None and (not isinstance(columns, list) or {*map(_width, rows)} != {len(columns)}):
        raise InvalidRequestError("every row of dataframe_split must have a value for each of its columns")
    return rows


def _width(row: Any) -> int:
    return len(row) if isinstance(row, list) else 1


def _records(value: Any, _: TensorSpec, max_rows: int) -> list[Any]:
    """Return the values of each record in the order of the first one's keys: JSON objects have no order."""
    records = [as_object(record, "a record") for record in _checked(value, max_rows)]
    columns = records[0].keys()
    if any(record.keys() != columns for record in records):
        raise InvalidRequestError("all records must have the same keys")
    return [[record[column] for column in columns] for record in records]


def _instances(value: Any, spec: TensorSpec, max_rows: int) -> list[Any]:
    rows = _inputs(value, spec, max_rows)
    return [row.get(spec.name) for row in rows] if all(isinstance(row, dict) for row in rows) else rows


def _inputs(value: Any, spec: TensorSpec, max_rows: int) -> list[Any]:
    """Return unnamed rows, or those of the model's input by its name."""
    return _checked(value.get(spec.name) if isinstance(value, dict) else value, max_rows)


READERS: Mapping[str, Callable[[Any, TensorSpec, int], list[Any]]] = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "instances": _instances,
    "inputs": _inputs,
}
