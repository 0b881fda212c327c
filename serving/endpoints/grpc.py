"""The endpoint of the Open Inference Protocol v2 over gRPC, with Triton's extensions; needs the extra `grpc`.

It runs in the event loop of the HTTP doors, on the same data plane and under the same keys and limits. Nothing imports
this module unless a port is set for it.
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
from serving.protocol.grpc_codec import read_request, write_response
from serving.settings import Settings

log = logging.getLogger(__name__)

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
# As on the HTTP doors, health answers without a key: probes have none.
OPEN = frozenset({"ServerLive", "ServerReady"})
ADMIN = frozenset({"RepositoryModelLoad", "RepositoryModelUnload"})
# Calls that one connection may have under way, each with a message of the largest size; its client holds back others.
MAX_STREAMS = 128
# A silent client is asked whether it is still there, so that connections which have died are noticed.
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

# The server is to blame.
FAULTS = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})

Context = grpc.aio.ServicerContext[bytes, Message]
Handler = Callable[[Any], Awaitable[Message]]
RequestHandler = Callable[[bytes, Context], Awaitable[Message | None]]

# Of the call that is being answered: the client's own, or a new one.
REQUEST_ID: ContextVar[str] = ContextVar("REQUEST_ID")


class GrpcService:
    """The service inference.GRPCInferenceService.

    Args:
        plane: infers.
        service: answers everything else.
        settings: address and limits.
        access: decides who may call; keys come as `authorization: Bearer` in the metadata.
        inference_log: told of what is inferred.
        observe: told the gRPC status code and the seconds of every call.
        hooks: see every call while it is answered.
    """

    def __init__(
        self,
        plane: DataPlane,
        service: InferenceService,
        settings: Settings,
        access: ApiKeys,
        inference_log: InferenceLog,
        observe: Callable[[str, float], None],
        hooks: Sequence[CallHook] = (),
    ) -> None:
        self._plane = plane
        self._service = service
        self._settings = settings
        self._access = access
        self._log = inference_log
        self._observe = observe
        self._watchers = hooks
        self._server: grpc.aio.Server

    async def start(self) -> None:
        """Response calls from now on."""
        options = (
            ("grpc.max_receive_message_length", self._settings.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_concurrent_streams", MAX_STREAMS),
            ("grpc.keepalive_time_ms", KEEPALIVE_MS),
            ("grpc.so_reuseport", int(self._settings.workers > 1)),
        )
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE.full_name, self._calls()),))
        host = self._settings.host
        self._server.add_insecure_port(f"{f'[{host}]' if ':' in host else host}:{self._settings.grpc_port}")
        await self._server.start()

    async def stop(self) -> None:
        """Take no new calls, and give those under way the time to finish."""
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
        question = read_request(message, model.inputs, model.outputs, self._settings.max_rows)
        request_id = valid_request_id(message.id) or REQUEST_ID.get()
        # A client that leaves cancels this coroutine, which withdraws what waits.
        routed_id = None if message.model_version else request_id
        model, arrays = await self._plane.infer(model, question.inputs, question.outputs, request_id=routed_id)
        self._log.add(request_id, model, question.inputs, arrays)
        return write_response(model.name, model.version, question, arrays, model.outputs)

    def _calls(self) -> dict[str, Any]:
        handlers: Mapping[str, Handler] = {
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
                self._guarded(
                    method.name, handlers[method.name], GetMessageClass(method.input_type), self._guard(method.name)
                ),
                response_serializer=GetMessageClass(method.output_type).SerializeToString,
            )
            for method in SERVICE.methods
        }

    def _guard(self, name: str) -> AuthCheck | None:
        if name in OPEN:
            return None
        return self._access.require_admin if name in ADMIN else self._access.require_client

    def _guarded(self, name: str, handler: Handler, kind: type[Message], guard: AuthCheck | None) -> RequestHandler:
        async def outcome(content: bytes, metadata: Mapping[str, str]) -> tuple[Message | None, grpc.StatusCode, str]:
            try:
                if guard is not None:
                    guard(metadata.get("authorization", ""))
                return await handler(_decoded(content, kind)), grpc.StatusCode.OK, ""
            except ServingError as error:
                return None, _code(error), str(error)
            except Exception:
                log.exception("a call failed for a reason that was not foreseen")
                return None, grpc.StatusCode.INTERNAL, "internal error"

        async def answer(content: bytes, context: Context) -> Message | None:
            start = time.perf_counter()
            metadata = _texts(context.invocation_metadata())
            request_id = valid_request_id(metadata.get("x-request-id", "")) or new_request_id()
            REQUEST_ID.set(request_id)
            context.set_trailing_metadata((("x-request-id", request_id),))
            code = grpc.StatusCode.CANCELLED
            path = f"/{SERVICE.full_name}/{name}"
            call = Call("POST", path, "grpc", request_id, metadata.get("traceparent", ""), code.name)
            try:
                with run_hooks(call, self._watchers):
                    response, code, text = await outcome(content, metadata)
                    call.status, call.is_server_error = code.name, code in FAULTS
            finally:
                self._observe(code.name, time.perf_counter() - start)
            if response is None:
                await context.abort(code, text)
            return response

        return answer


def _decoded(content: bytes, kind: type[Message]) -> Message:
    try:
        return kind.FromString(content)
    except DecodeError:
        raise InvalidRequestError("this is no message of the protocol") from None


def _texts(metadata: Iterable[tuple[str, str | bytes]] | None) -> dict[str, str]:
    return {name: value for name, value in metadata or () if isinstance(value, str)}


def _code(error: ServingError) -> grpc.StatusCode:
    code = next((code for kind, code in CODES.items() if isinstance(error, kind)), None)
    if code is None:
        log.error("%s", error, exc_info=error)
        return grpc.StatusCode.INTERNAL
    return code
