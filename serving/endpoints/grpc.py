"""gRPC service of the Open Inference Protocol v2, with Triton's extensions; needs the extra `grpc`.

It runs in the event loop of the HTTP server, on the same data plane and with the same keys and limits. It is only
imported if its port is set.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from serving.engine.data_plane import DataPlane
from serving.engine.inference_service import InferenceService
from serving.errors import (
    ClientGoneError,
    DeadlineError,
    ForbiddenError,
    InvalidRequestError,
    NotReadyError,
    OverloadedError,
    ServingError,
    UnauthorizedError,
    UnknownModelError,
)
from serving.http.auth import ApiKeys
from serving.http.request_id import new_request_id, valid_request_id
from serving.http.request_log import Call, CallHook, run_hooks
from serving.http.router import AuthCheck
from serving.inference_log.log import InferenceLog
from serving.protocol import inference_pb2 as pb
from serving.protocol.grpc_codec import build_response, parse_message
from serving.settings import Settings

log = logging.getLogger(__name__)

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
# Health checks need no key, as over HTTP: probes have none.
OPEN = frozenset({"ServerLive", "ServerReady"})
ADMIN = frozenset({"RepositoryModelLoad", "RepositoryModelUnload"})
# Concurrent calls of one connection, each of which may have a message of the largest size.
MAX_STREAMS = 128
# Interval of keepalive pings, which detect dead connections of idle clients.
KEEPALIVE_MS = 60_000
CODES: Mapping[type[ServingError], grpc.StatusCode] = {
    InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    UnauthorizedError: grpc.StatusCode.UNAUTHENTICATED,
    ForbiddenError: grpc.StatusCode.PERMISSION_DENIED,
    UnknownModelError: grpc.StatusCode.NOT_FOUND,
    ClientGoneError: grpc.StatusCode.CANCELLED,
    NotReadyError: grpc.StatusCode.UNAVAILABLE,
    OverloadedError: grpc.StatusCode.UNAVAILABLE,
    DeadlineError: grpc.StatusCode.DEADLINE_EXCEEDED,
}

# Codes of failures that the server caused.
SERVER_ERRORS = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})

Context = grpc.aio.ServicerContext[bytes, Message]
MessageHandler = Callable[[Any], Awaitable[Message]]
RpcHandler = Callable[[bytes, Context], Awaitable[Message | None]]

# ID of the current call: the client's, or a generated one.
REQUEST_ID: ContextVar[str] = ContextVar("REQUEST_ID")


class GrpcService:
    """Service inference.GRPCInferenceService.

    Args:
        plane: runs inference requests.
        service: handles all other requests.
        settings: address and limits.
        api_keys: checks keys, which clients send as `authorization: Bearer` in the metadata.
        inference_log: records a sample of inference requests.
        record: called with the gRPC status code and the seconds of every call.
        hooks: enclose every call.
    """

    def __init__(
        self,
        plane: DataPlane,
        service: InferenceService,
        settings: Settings,
        api_keys: ApiKeys,
        inference_log: InferenceLog,
        record: Callable[[str, float], None],
        hooks: Sequence[CallHook] = (),
    ) -> None:
        self._plane = plane
        self._service = service
        self._settings = settings
        self._api_keys = api_keys
        self._log = inference_log
        self._record = record
        self._hooks = hooks
        self._server: grpc.aio.Server

    async def start(self) -> None:
        """Listen for calls."""
        options = (
            ("grpc.max_receive_message_length", self._settings.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_concurrent_streams", MAX_STREAMS),
            ("grpc.keepalive_time_ms", KEEPALIVE_MS),
            ("grpc.so_reuseport", int(self._settings.workers > 1)),
        )
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE.full_name, self._rpc_handlers()),)
        )
        host = self._settings.host
        self._server.add_insecure_port(f"{f'[{host}]' if ':' in host else host}:{self._settings.grpc_port}")
        await self._server.start()

    async def stop(self) -> None:
        """Refuse new calls, and wait up to `drain_seconds` for running ones."""
        await self._server.stop(self._settings.drain_seconds)

    async def live(self, _: pb.ServerLiveRequest) -> Message:
        return pb.ServerLiveResponse(live=True)

    async def ready(self, _: pb.ServerReadyRequest) -> Message:
        return pb.ServerReadyResponse(ready=await self._plane.is_ready())

    async def model_ready(self, message: pb.ModelReadyRequest) -> Message:
        try:
            model = await self._service.model(message.name, message.version)
        except NotReadyError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=await self._plane.is_model_ready(model))

    async def describe_server(self, _: pb.ServerMetadataRequest) -> Message:
        return pb.ServerMetadataResponse(**self._service.describe_server())

    async def describe_model(self, message: pb.ModelMetadataRequest) -> Message:
        return pb.ModelMetadataResponse(**await self._service.describe_model(message.name, message.version))

    async def configuration(self, message: pb.ModelConfigRequest) -> Message:
        return pb.ModelConfigResponse(config=await self._service.describe_configuration(message.name, message.version))

    async def statistics(self, message: pb.ModelStatisticsRequest) -> Message:
        return pb.ModelStatisticsResponse(**self._service.statistics(message.name, message.version))

    async def index(self, message: pb.RepositoryIndexRequest) -> Message:
        return pb.RepositoryIndexResponse(models=self._service.index(message.ready))

    async def load(self, message: pb.RepositoryModelLoadRequest) -> Message:
        if message.parameters:
            raise InvalidRequestError("models are loaded by name from the repository: no configuration, files or URLs")
        await self._service.load(message.model_name)
        return pb.RepositoryModelLoadResponse()

    async def unload(self, message: pb.RepositoryModelUnloadRequest) -> Message:
        self._service.unload(message.model_name)
        return pb.RepositoryModelUnloadResponse()

    async def infer(self, message: pb.ModelInferRequest) -> Message:
        model = await self._service.model(message.model_name, message.model_version)
        parsed = parse_message(message, model.inputs, model.outputs, self._settings.max_rows)
        request_id = valid_request_id(message.id) or REQUEST_ID.get()
        # gRPC cancels this coroutine when the client disconnects, which drops the request if it still waits.
        routed_id = None if message.model_version else request_id
        model, arrays = await self._plane.infer(model, parsed.inputs, parsed.outputs, request_id=routed_id)
        self._log.add(request_id, model, parsed.inputs, arrays)
        return build_response(model.name, model.version, parsed, arrays, model.outputs)

    def _rpc_handlers(self) -> dict[str, Any]:
        handlers: Mapping[str, MessageHandler] = {
            "ServerLive": self.live,
            "ServerReady": self.ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.describe_server,
            "ModelMetadata": self.describe_model,
            "ModelConfig": self.configuration,
            "ModelInfer": self.infer,
            "ModelStatistics": self.statistics,
            "RepositoryIndex": self.index,
            "RepositoryModelLoad": self.load,
            "RepositoryModelUnload": self.unload,
        }
        return {
            method.name: grpc.unary_unary_rpc_method_handler(
                self._rpc_handler(
                    method.name,
                    handlers[method.name],
                    GetMessageClass(method.input_type),
                    self._auth_check(method.name),
                ),
                response_serializer=GetMessageClass(method.output_type).SerializeToString,
            )
            for method in SERVICE.methods
        }

    def _auth_check(self, method: str) -> AuthCheck | None:
        if method in OPEN:
            return None
        return self._api_keys.require_admin if method in ADMIN else self._api_keys.require_client

    def _rpc_handler(
        self, method: str, handler: MessageHandler, message_type: type[Message], check: AuthCheck | None
    ) -> RpcHandler:
        """Return a handler with authentication, request ID, hooks and metrics around that of a method."""

        async def run(content: bytes, metadata: Mapping[str, str]) -> tuple[Message | None, grpc.StatusCode, str]:
            try:
                if check is not None:
                    check(metadata.get("authorization", ""))
                return await handler(_decode(content, message_type)), grpc.StatusCode.OK, ""
            except Exception as error:
                return None, *_status(error)

        async def handle(content: bytes, context: Context) -> Message | None:
            start = time.perf_counter()
            metadata = _text_metadata(context.invocation_metadata())
            request_id = valid_request_id(metadata.get("x-request-id", "")) or new_request_id()
            REQUEST_ID.set(request_id)
            context.set_trailing_metadata((("x-request-id", request_id),))
            code = grpc.StatusCode.CANCELLED
            path = f"/{SERVICE.full_name}/{method}"
            call = Call("POST", path, "grpc", request_id, metadata.get("traceparent", ""), code.name)
            try:
                with run_hooks(call, self._hooks):
                    response, code, details = await run(content, metadata)
                    call.status, call.is_server_error = code.name, code in SERVER_ERRORS
            finally:
                self._record(code.name, time.perf_counter() - start)
            if response is None:
                await context.abort(code, details)
            return response

        return handle


def _decode(content: bytes, message_type: type[Message]) -> Message:
    try:
        return message_type.FromString(content)
    except DecodeError:
        raise InvalidRequestError("this is not a message of the protocol") from None


def _text_metadata(metadata: Iterable[tuple[str, str | bytes]] | None) -> dict[str, str]:
    return {name: value for name, value in metadata or () if isinstance(value, str)}


def _status(error: Exception) -> tuple[grpc.StatusCode, str]:
    """Return status code and details of an exception. Unexpected exceptions are logged, and their text is hidden."""
    if not isinstance(error, ServingError):
        log.error("unexpected error while handling a call", exc_info=error)
        return grpc.StatusCode.INTERNAL, "internal error"
    code = next((code for kind, code in CODES.items() if isinstance(error, kind)), grpc.StatusCode.INTERNAL)
    if code is grpc.StatusCode.INTERNAL:
        log.error("%s", error, exc_info=error)
    return code, str(error)
