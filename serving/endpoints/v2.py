"""Open Inference Protocol v2 over HTTP: `/v2/...`, with Triton's extensions for statistics and configuration."""

from functools import partial

from serving.engine.batcher import Outputs
from serving.engine.data_plane import DataPlane
from serving.engine.model import Model
from serving.engine.protocol_handlers import ProtocolHandlers
from serving.errors import InvalidRequestError, NotReadyError, ServingError, UnsupportedMediaError
from serving.http.body_parser import MAX_INLINE_BYTES, BodyParser
from serving.http.head import INFERENCE_HEADER_LENGTH, RequestHead
from serving.http.request import Request, whole_number
from serving.http.request_id import valid_request_id
from serving.http.response import JSON, Response, json_response
from serving.http.router import OnResponse, Route
from serving.inference_log.log import InferenceLog
from serving.protocol.json_fields import InvalidJsonError
from serving.protocol.json_request import (
    MISSING_HEADER_LENGTH,
    InferenceRequest,
    check_load_request,
    parse_index_request,
)
from serving.protocol.json_response import serialise_response
from serving.settings import Settings

BINARY = "application/octet-stream"
MEDIA_TYPES = ("", JSON, BINARY)
MAX_HEADER_LENGTH = 10**12 - 1
# Of a request to the repository: its fields are few and short.
MAX_REPOSITORY_BYTES = 64 * 1024
MODEL = "/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?"


class V2Endpoints:
    """Endpoints under /v2."""

    def __init__(
        self,
        plane: DataPlane,
        handlers: ProtocolHandlers,
        settings: Settings,
        inference_log: InferenceLog,
        body_parser: BodyParser,
    ) -> None:
        self._plane = plane
        self._handlers = handlers
        self._log = inference_log
        self._settings = settings
        self._body_parser = body_parser
        self._max_inline_bytes = min(MAX_INLINE_BYTES, settings.max_body_bytes)

    def routes(self) -> list[Route]:
        return [
            # First, because routes are matched in order and inference is the most frequent request.
            Route("POST", MODEL + "/infer", self.infer, self.start_infer),
            Route("GET", "/v2/?", self.describe_server),
            Route("GET", "/v2/health/live", self.live, is_open=True),
            Route("GET", "/v2/health/ready", self.ready, is_open=True),
            # Before MODEL, which would match it as a model named "stats".
            Route("GET", "/v2/models/stats", self.all_statistics),
            Route("GET", MODEL, self.describe_model),
            Route("GET", MODEL + "/stats", self.statistics),
            Route("GET", MODEL + "/ready", self.model_ready),
            Route("GET", MODEL + "/config", self.configuration),
            Route("POST", "/v2/repository/index", self.index),
            Route("POST", "/v2/repository/models/(?P<model>[^/]+)/load", self.load, is_admin=True),
            Route("POST", "/v2/repository/models/(?P<model>[^/]+)/unload", self.unload, is_admin=True),
        ]

    async def describe_server(self, _: Request) -> Response:
        return json_response(self._handlers.describe_server())

    async def live(self, _: Request) -> Response:
        return json_response({"live": True})

    async def ready(self, _: Request) -> Response:
        await self._plane.require_ready()
        return json_response({"ready": True})

    async def describe_model(self, _: Request, name: str, version: str | None) -> Response:
        return json_response(await self._handlers.describe_model(name, version))

    async def model_ready(self, _: Request, name: str, version: str | None) -> Response:
        model = await self._handlers.model(name, version)
        if not await self._plane.is_model_ready(model):
            raise NotReadyError("this model does not reproduce its recorded predictions")
        return json_response({"name": model.name, "ready": True})

    async def configuration(self, _: Request, name: str, version: str | None) -> Response:
        return json_response(await self._handlers.describe_configuration(name, version))

    async def all_statistics(self, _: Request) -> Response:
        return json_response(self._handlers.statistics("", None))

    async def statistics(self, _: Request, name: str, version: str | None) -> Response:
        return json_response(self._handlers.statistics(name, version))

    async def index(self, request: Request) -> Response:
        body = await request.body(MAX_REPOSITORY_BYTES, self._settings.receive_seconds)
        return json_response(self._handlers.index(parse_index_request(body)))

    async def load(self, request: Request, name: str) -> Response:
        check_load_request(await request.body(MAX_REPOSITORY_BYTES, self._settings.receive_seconds))
        await self._handlers.load(name)
        return json_response({"name": name, "load": True})

    async def unload(self, _: Request, name: str) -> Response:
        self._handlers.unload(name)
        return json_response({"name": name, "unload": True})

    async def infer(self, request: Request, name: str, version: str | None) -> Response:
        model = await self._handlers.model(name, version)
        header_length = _header_length(request.head)
        body = await request.body(self._settings.max_body_bytes, self._settings.receive_seconds)
        parsed = await self._body_parser.run(
            partial(self._parse, request, body, header_length, model),
            len(body) if header_length is None else header_length,
            request.is_disconnected,
        )
        request_id = _request_id(request, parsed) if version is None else None
        model, outputs = await self._plane.infer(
            model, parsed.inputs, parsed.outputs, request.is_disconnected, request_id
        )
        return self._response(request, model, parsed, outputs)

    def start_infer(self, request: Request, on_response: OnResponse, name: str, version: str | None) -> bool:
        """Callback version of `infer`. Returns False if the body is incomplete or large, or if a version is named."""
        body = request.buffered_body(self._max_inline_bytes)
        if body is None or version is not None:
            return False
        model = self._plane.models.champion(name)
        parsed = self._parse(request, body, _header_length(request.head), model)

        def on_answer(answered: Model, result: Outputs | ServingError) -> None:
            if isinstance(result, ServingError):
                on_response(request, result)
                return
            try:
                response = self._response(request, answered, parsed, result)
            except Exception as error:
                on_response(request, error)
            else:
                on_response(request, response)

        request_id = _request_id(request, parsed)
        self._plane.submit(model, parsed.inputs, parsed.outputs, on_answer, request.is_disconnected, request_id)
        return True

    def _parse(self, request: Request, body: bytes, header_length: int | None, model: Model) -> InferenceRequest:
        try:
            return model.request_cache.parse(body, header_length, self._settings.max_rows)
        except InvalidJsonError:
            if header_length is None and request.media_type == BINARY:
                raise InvalidRequestError(MISSING_HEADER_LENGTH) from None
            raise

    def _response(self, request: Request, model: Model, parsed: InferenceRequest, outputs: Outputs) -> Response:
        if self._log.is_enabled:
            self._log.add(_request_id(request, parsed), model, parsed.inputs, outputs)
        body, header_length = serialise_response(model.name, model.version, parsed, outputs, model.outputs)
        if header_length is None:
            return Response(body)
        return Response(body, media_type=BINARY, headers={INFERENCE_HEADER_LENGTH: str(header_length)})


def _request_id(request: Request, parsed: InferenceRequest) -> str:
    return valid_request_id(parsed.id) or request.id


def _header_length(head: RequestHead) -> int | None:
    if head.media_type not in MEDIA_TYPES:
        raise UnsupportedMediaError(f"send the request as {JSON} or, with binary tensors, as {BINARY}")
    text = head.inference_header_length
    if text is None:
        return None
    length = whole_number(text, MAX_HEADER_LENGTH)
    if length is None:
        raise InvalidRequestError(f"{INFERENCE_HEADER_LENGTH} must be a number of bytes")
    return length
