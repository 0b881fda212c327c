"""The door of MLflow's scoring server, so that its clients can move: /invocations and /ping.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import orjson

from serving.dataplane import DataPlane
from serving.errors import InvalidRequestError, NotReadyError, UnsupportedMediaError
from serving.protocol import array_from_values
from serving.settings import Settings
from serving.tensors import Array, TensorSpec
from serving.web import JSON, Answer, Request, Route, json_answer

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


class InvocationsDoor:
    """Endpoints /invocations and /ping, answered by the default model."""

    def __init__(self, plane: DataPlane, settings: Settings) -> None:
        self._plane = plane
        self._settings = settings

    def routes(self) -> list[Route]:
        return [Route("POST", "/invocations", self.invoke), Route("GET", "/ping", self.ping, is_open=True)]

    async def ping(self, _: Request) -> Answer:
        if not self._plane.is_ready():
            raise NotReadyError("not every model is ready")
        return json_answer({})

    async def invoke(self, request: Request) -> Answer:
        if request.media() not in ("", JSON):
            raise UnsupportedMediaError(f"send JSON with one of: {', '.join(FORMS)}")
        body = await request.body(self._settings.max_body_bytes, self._settings.receive_seconds)
        model = self._plane.catalogue.default()
        (spec,) = model.inputs.values()
        array = parse_invocation(body, spec, self._settings.max_rows)
        output = model.manifest.outputs[0].name
        _, arrays = await self._plane.answer(model, request.id, {spec.name: array}, [output], request.is_gone)
        return json_answer({"predictions": arrays[output]})


def parse_invocation(body: bytes, spec: TensorSpec, max_rows: int) -> Array:
    """Return the rows of an invocation in any of MLflow's four forms, shape [rows, *spec.shape[1:]].

    Columns of a data frame are taken in their order; a row's values may be nested or flat.

    Raises:
        InvalidRequestError: says what is not as it should be.
    """
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"the body is not valid JSON: {error.msg} (at character {error.pos})") from None
    form = next((form for form in FORMS if isinstance(tree, dict) and form in tree), None)
    if form is None:
        raise InvalidRequestError(f"the body has to be a JSON object with one of: {', '.join(FORMS)}")
    rows = READERS[form](tree[form], spec)
    if not isinstance(rows, list) or not rows:
        raise InvalidRequestError(f"{form} holds no rows")
    if len(rows) > max_rows:
        raise InvalidRequestError(f"at most {max_rows} rows go into one request")
    if -1 in spec.shape[1:]:
        raise InvalidRequestError("this door needs a model with fixed sizes, ask it through /v2")
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
            raise InvalidRequestError(f"every row has to hold {size} values")
        values += flat
    return values


def _split(value: Any, _: TensorSpec) -> Any:
    return value.get("data") if isinstance(value, dict) else None


def _records(value: Any, _: TensorSpec) -> Any:
    if not isinstance(value, list) or not all(isinstance(record, dict) for record in value):
        return None
    return [list(record.values()) for record in value]


def _tensor(value: Any, spec: TensorSpec) -> Any:
    """Return unnamed rows, or those under the name of the model's input."""
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
