"""The endpoint of the Open Inference Protocol v2, with Triton's extensions for statistics and configuration."""

from serving.engine.batcher import Outputs
from serving.engine.data_plane import DataPlane
from serving.engine.inference_service import InferenceService
from serving.engine.model import Model
from serving.errors import InvalidRequestError, NotReadyError, ServingError, UnsupportedMediaError
from serving.http.request import Head, Request, valid_request_id
from serving.http.router import JSON, Finish, Response, Route, json_response
from serving.inference_log.log import InferenceLog
from serving.protocol import codec
from serving.protocol.codec import InferenceRequest
from serving.settings import Settings

HEADER_LENGTH = "Inference-Header-Content-Length"
BINARY = "application/octet-stream"
MEDIA = ("", JSON, BINARY)
MAX_ADMIN_BYTES = 64 * 1024
MODEL = "/v2/models/([^/]+)(?:/versions/([^/]+))?"


class V2Endpoints:
    """Endpoints under /v2."""

    def __init__(
        self, plane: DataPlane, service: InferenceService, settings: Settings, inference_log: InferenceLog
    ) -> None:
        self._plane = plane
        self._service = service
        self._log = inference_log
        self._settings = settings

    def routes(self) -> list[Route]:
        return [
            # First, because routes are tried in order and this is the one that counts.
            Route("POST", MODEL + "/infer", self.infer, self.start_infer),
            Route("GET", "/v2/?", self.describe_server),
            Route("GET", "/v2/health/live", self.live, is_open=True),
            Route("GET", "/v2/health/ready", self.ready, is_open=True),
            # Before models, because a model of that name could have its own way to ask.
            Route("GET", "/v2/models/stats", self.all_statistics),
            Route("GET", MODEL, self.describe_model),
            Route("GET", MODEL + "/stats", self.statistics),
            Route("GET", MODEL + "/ready", self.model_ready),
            Route("GET", MODEL + "/config", self.configuration),
            Route("POST", "/v2/repository/index", self.index),
            Route("POST", "/v2/repository/models/([^/]+)/load", self.load, is_admin=True),
            Route("POST", "/v2/repository/models/([^/]+)/unload", self.unload, is_admin=True),
        ]

    async def describe_server(self, _: Request) -> Response:
        return json_response(self._service.describe_server())

    async def live(self, _: Request) -> Response:
        return json_response({"live": True})

    async def ready(self, _: Request) -> Response:
        if not await self._plane.is_ready():
            raise NotReadyError("no model serves, or one does not give what was recorded")
        return json_response({"ready": True})

    async def describe_model(self, _: Request, name: str, number: str | None) -> Response:
        return json_response(await self._service.describe_model(name, number))

    async def model_ready(self, _: Request, name: str, number: str | None) -> Response:
        model = await self._service.model(name, number)
        if not await self._plane.is_model_ready(model):
            raise NotReadyError("this model does not give what was recorded")
        return json_response({"name": model.name, "ready": True})

    async def configuration(self, _: Request, name: str, number: str | None) -> Response:
        return json_response(await self._service.describe_configuration(name, number))

    async def all_statistics(self, _: Request) -> Response:
        return json_response(self._service.statistics("", None))

    async def statistics(self, _: Request, name: str, number: str | None) -> Response:
        return json_response(self._service.statistics(name, number))

    async def index(self, request: Request) -> Response:
        body = await request.body(self._settings.max_body_bytes, self._settings.receive_seconds)
        return json_response(self._service.index(codec.parse_index_request(body)))

    async def load(self, request: Request, name: str) -> Response:
        codec.check_load_request(await request.body(MAX_ADMIN_BYTES, self._settings.receive_seconds))
        await self._service.load(name)
        return json_response({"name": name, "load": True})

    async def unload(self, _: Request, name: str) -> Response:
        self._service.unload(name)
        return json_response({"name": name, "unload": True})

    async def infer(self, request: Request, name: str, number: str | None) -> Response:
        model = await self._service.model(name, number)
        header_length = _header_length(request.head)
        body = await request.body(self._settings.max_body_bytes, self._settings.receive_seconds)
        question = self._read(body, header_length, model)
        request_id = _id(request, question) if number is None else None
        model, arrays = await self._plane.infer(model, question.inputs, question.outputs, request.is_gone, request_id)
        return self._answer(request, model, question, arrays)

    def start_infer(self, request: Request, finish: Finish, name: str, number: str | None) -> bool:
        """Callback version of `infer`. Returns False if the body is still incomplete or the request names a version."""
        body = request.body_at_hand(self._settings.max_body_bytes)
        if body is None or number is not None:
            return False
        model = self._plane.models.champion(name)
        question = self._read(body, _header_length(request.head), model)

        def on_answer(version: Model, result: Outputs | ServingError) -> None:
            if isinstance(result, ServingError):
                finish(request, result)
                return
            try:
                response = self._answer(request, version, question, result)
            except Exception as error:
                finish(request, error)
            else:
                finish(request, response)

        request_id = _id(request, question)
        self._plane.submit(model, question.inputs, question.outputs, on_answer, request.is_gone, request_id)
        return True

    def _read(self, body: bytes, header_length: int | None, model: Model) -> InferenceRequest:
        return model.request_cache.parse(body, header_length, self._settings.max_rows)

    def _answer(self, request: Request, model: Model, question: InferenceRequest, arrays: Outputs) -> Response:
        if self._log.is_enabled:
            self._log.add(_id(request, question), model, question.inputs, arrays)
        answer = codec.serialise_response(model.name, model.version, question, arrays, model.outputs)
        if answer.header_length is None:
            return Response(answer.body)
        return Response(answer.body, media=BINARY, headers={HEADER_LENGTH: str(answer.header_length)})


def _id(request: Request, question: InferenceRequest) -> str:
    return valid_request_id(question.id) or request.id


def _header_length(head: Head) -> int | None:
    if head.media not in MEDIA:
        raise UnsupportedMediaError("send the request as application/json or, with binary tensors, octet-stream")
    text = head.json_bytes
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 12):
        raise InvalidRequestError(f"{HEADER_LENGTH} has to be a number of bytes")
    return int(text)
