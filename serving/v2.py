"""The door of the Open Inference Protocol v2."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from serving import protocol
from serving.dataplane import DataPlane
from serving.errors import InvalidRequestError, NotReadyError, UnknownModelError, UnsupportedMediaError
from serving.model import Model
from serving.repository import VERSION
from serving.settings import Settings
from serving.web import json_response, read_body

HEADER_LENGTH = "Inference-Header-Content-Length"
MEDIA = ("", "application/json", "application/octet-stream")


class V2Door:
    """Endpoints under /v2."""

    def __init__(self, plane: DataPlane, settings: Settings) -> None:
        self._plane = plane
        self._settings = settings
        self._server = {"name": "mnistflow", "version": _own_version(), "extensions": ["binary_tensor_data"]}

    def routes(self) -> list[BaseRoute]:
        model = "/v2/models/{model}"
        routes: list[BaseRoute] = [
            Route("/v2", self.describe_server),
            Route("/v2/health/live", self.live),
            Route("/v2/health/ready", self.ready),
        ]
        for path in (model, model + "/versions/{version}"):
            routes += [
                Route(path, self.describe_model),
                Route(path + "/ready", self.model_ready),
                Route(path + "/infer", self.infer, methods=["POST"]),
            ]
        return routes

    async def describe_server(self, _: Request) -> Response:
        return json_response(self._server)

    async def live(self, _: Request) -> Response:
        return json_response({"live": True})

    async def ready(self, _: Request) -> Response:
        if not self._plane.is_ready():
            raise NotReadyError("not every model is ready")
        return json_response({"ready": True})

    async def describe_model(self, request: Request) -> Response:
        model = await self._model(request)
        versions = self._plane.catalogue.versions(model.name)
        return json_response(protocol.describe_model(model.name, versions, model.inputs, model.outputs))

    async def model_ready(self, request: Request) -> Response:
        model = await self._model(request)
        if not model.is_ready():
            raise NotReadyError("this model does not give what was recorded")
        return json_response({"name": model.name, "ready": True})

    async def infer(self, request: Request) -> Response:
        model = await self._model(request)
        header_length = _header_length(request)
        body = await read_body(request, self._settings.max_body_bytes, self._settings.receive_seconds)
        question = protocol.parse_request(body, header_length, model.inputs, model.outputs, self._settings.max_rows)
        arrays = await self._plane.infer(model, question.inputs, [output.name for output in question.outputs])
        answer = protocol.serialise_response(model.name, model.version, question, arrays, model.outputs)
        if answer.header_length is None:
            return Response(answer.body, media_type="application/json")
        headers = {HEADER_LENGTH: str(answer.header_length)}
        return Response(answer.body, headers=headers, media_type="application/octet-stream")

    async def _model(self, request: Request) -> Model:
        number: Any = request.path_params.get("version")
        if number is not None and not VERSION.fullmatch(number):
            raise UnknownModelError("this model has no such version")
        return await self._plane.model(request.path_params["model"], None if number is None else int(number))


def _header_length(request: Request) -> int | None:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in MEDIA:
        raise UnsupportedMediaError("send the request as application/json or, with binary tensors, octet-stream")
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 12):
        raise InvalidRequestError(f"{HEADER_LENGTH} has to be a number of bytes")
    return int(text)


def _own_version() -> str:
    try:
        return version("mnistflow")
    except PackageNotFoundError:
        return "unknown"
