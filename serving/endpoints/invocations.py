"""MLflow's scoring protocol, for clients of its server: `/invocations`, `/ping`, `/health` and `/version`.

Responses have the form of models of MLflow's `onnx` flavour.
https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/
"""

import csv
import io
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from serving.engine.data_plane import DataPlane
from serving.errors import InvalidRequestError, NotReadyError, UnsupportedMediaError
from serving.http.request import Request
from serving.http.response import JSON, Response, json_response
from serving.http.router import Route
from serving.protocol.arrays import array_from_values
from serving.protocol.json_fields import parse_json
from serving.protocol.tensors import Array, TensorSpec
from serving.settings import Settings

CSV = "text/csv"
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


class InvocationsEndpoints:
    """Endpoints /invocations, which runs the default model, /ping, /health and /version."""

    def __init__(self, plane: DataPlane, settings: Settings, version: str) -> None:
        self._plane = plane
        self._settings = settings
        self._version = version

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/invocations", self.invoke),
            Route("GET", "/ping", self.ping, is_open=True),
            Route("GET", "/health", self.ping, is_open=True),
            Route("GET", "/version", self.version),
        ]

    async def ping(self, _: Request) -> Response:
        if not await self._plane.is_ready():
            raise NotReadyError("there is no champion, or one does not reproduce its recorded predictions")
        return json_response({})

    async def version(self, _: Request) -> Response:
        return Response(self._version.encode(), media_type="text/plain")

    async def invoke(self, request: Request) -> Response:
        media = request.media_type
        if media not in ("", JSON, CSV):
            raise UnsupportedMediaError(f"send {CSV}, or JSON with one of: {', '.join(FORMS)}")
        body = await request.body(self._settings.max_body_bytes, self._settings.receive_seconds)
        model = self._plane.models.default()
        if len(model.inputs) != 1:
            raise InvalidRequestError(f"{model.name} has several inputs: use /v2/models/{model.name}/infer")
        (spec,) = model.inputs.values()
        rows = _csv(body) if media == CSV else _json(body, spec)
        inputs = {spec.name: array_from_rows(rows, spec, self._settings.max_rows)}
        _, arrays = await self._plane.infer(model, inputs, list(model.outputs), request.is_disconnected, request.id)
        return json_response({"predictions": arrays})


def array_from_rows(rows: list[Any], spec: TensorSpec, max_rows: int) -> Array:
    """Return rows as an array of shape [rows, *spec.shape[1:]]; the values of a row may be nested or flat.

    Raises:
        InvalidRequestError: there are more than `max_rows`, or they do not fit the input.
    """
    if len(rows) > max_rows:
        raise InvalidRequestError(f"a request may have at most {max_rows} rows")
    if -1 in spec.shape[1:]:
        raise InvalidRequestError("this model has inputs of variable size: use /v2/models/.../infer")
    values = _flattened(rows, math.prod(spec.shape[1:]))
    return array_from_values(values, spec, (len(rows), *spec.shape[1:]))


def _flattened(rows: list[Any], size: int) -> list[Any]:
    values: list[Any] = []
    for row in rows:
        try:
            flat = np.asarray(row, dtype=object).ravel().tolist()
        except ValueError:
            flat = []
        if len(flat) != size:
            raise InvalidRequestError(f"every row must have {size} values")
        values += flat
    return values


def _csv(body: bytes) -> list[Any]:
    """Return the rows after the header, with columns in their order, whatever their names."""
    try:
        lines = csv.reader(io.StringIO(body.decode(), newline=""))
        next(lines, None)
        rows = [list(map(_number, line)) for line in lines if line]
    except (ValueError, csv.Error):
        raise InvalidRequestError("the CSV must be a header line followed by rows of numbers") from None
    if not rows:
        raise InvalidRequestError("the CSV has no rows after its header")
    return rows


def _number(text: str) -> float:
    return int(text) if text.isdecimal() else float(text)


def _json(body: bytes, spec: TensorSpec) -> list[Any]:
    """Return the rows of any of the four forms, with columns in their order, whatever their names."""
    tree = parse_json(body)
    form = next((form for form in FORMS if isinstance(tree, dict) and form in tree), None)
    if form is None:
        raise InvalidRequestError(f"the body must be a JSON object with one of: {', '.join(FORMS)}")
    rows = READERS[form](tree[form], spec)
    if not isinstance(rows, list) or not rows:
        raise InvalidRequestError(f"{form} has no rows")
    return rows


def _split(value: Any, _: TensorSpec) -> Any:
    return value.get("data") if isinstance(value, dict) else None


def _records(value: Any, _: TensorSpec) -> Any:
    if not isinstance(value, list) or not all(isinstance(record, dict) for record in value):
        return None
    return [list(record.values()) for record in value]


def _tensor(value: Any, spec: TensorSpec) -> Any:
    """Return unnamed rows, or those of the model's input by its name."""
    return value.get(spec.name) if isinstance(value, dict) else value


def _instances(value: Any, spec: TensorSpec) -> Any:
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        return [row.get(spec.name) for row in value]
    return _tensor(value, spec)


READERS: Mapping[str, Callable[[Any, TensorSpec], Any]] = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "instances": _instances,
    "inputs": _tensor,
}
