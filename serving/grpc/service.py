"""gRPC service of the Open Inference Protocol v2, with Triton's extensions.

It runs in the event loop of the HTTP server, on the same data plane and with the same keys and limits.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection

from serving.engine.data_plane import DataPlane
from serving.engine.protocol_handlers import ProtocolHandlers
from serving.errors import InvalidRequestError, NotReadyError
from serving.grpc import status_codes
from serving.grpc.handlers import Outcome, RpcCall, stream_handler, unary_handler
from serving.grpc.health import HealthService
from serving.http.auth import ApiKeys
from serving.http.request_id import valid_request_id
from serving.http.request_log import Call, CallHook, run_hooks
from serving.http.route_match import AuthCheck
from serving.http.tls import Certificate
from serving.inference_log.log import InferenceLog
from serving.protocol import inference_pb2 as pb
from serving.protocol.grpc_codec import build_response, parse_message
from serving.protocol.json_request import NO_SHARED_MEMORY
from serving.settings import Settings

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
# Health checks need no key, as over HTTP: probes have none.
OPEN = frozenset({"ServerLive", "ServerReady"})
ADMIN = frozenset({"RepositoryModelLoad", "RepositoryModelUnload"})
# Concurrent calls of one connection, each of which may have a message of the largest size.
MAX_STREAMS = 128
# Interval of keepalive pings, which detect dead connections of idle clients.
KEEPALIVE_MS = 60_000
MessageHandler = Callable[[Any], Awaitable[Message]]

# ID of the current call: the client's, or a generated one.
REQUEST_ID: ContextVar[str] = ContextVar("REQUEST_ID")


class GrpcService:
    """Service inference.GRPCInferenceService, with health checking and server reflection beside it.

    Args:
        plane: runs inference requests.
        handlers: handle all other requests.
        settings: address and limits.
        api_keys: checks keys, which clients send as `authorization: Bearer` in the metadata.
        inference_log: records a sample of inference requests.
        certificate: for TLS; None for plain text.
        record: called with the gRPC status code and the seconds of every call.
        hooks: enclose every call.
    """

    def __init__(
        self,
        plane: DataPlane,
        handlers: ProtocolHandlers,
        settings: Settings,
        api_keys: ApiKeys,
        inference_log: InferenceLog,
        certificate: Certificate | None,
        record: Callable[[str, float], None],
        hooks: Sequence[CallHook] = (),
    ) -> None:
        self._plane = plane
        self._handlers = handlers
        self._settings = settings
        self._api_keys = api_keys
        self._log = inference_log
        self._certificate = certificate
        self._health = HealthService([SERVICE.full_name], plane.is_ready, settings.poll_seconds)
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
        add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((SERVICE.full_name, HEALTH, reflection.SERVICE_NAME), self._server)
        host = self._settings.host
        address = f"{f'[{host}]' if ':' in host else host}:{self._settings.grpc_port}"
        if self._certificate is None:
            self._server.add_insecure_port(address)
        else:
            self._server.add_secure_port(address, _credentials(self._certificate))
        await self._server.start()

    async def stop(self) -> None:
        """Refuse new calls, and wait up to `drain_seconds` for running ones. May be called more than once."""
        self._health.stop()
        await self._server.stop(self._settings.drain_seconds)

    async def live(self, _: pb.ServerLiveRequest) -> Message:
        return pb.ServerLiveResponse(live=True)

    async def ready(self, _: pb.ServerReadyRequest) -> Message:
        return pb.ServerReadyResponse(ready=await self._plane.is_ready())

    async def model_ready(self, message: pb.ModelReadyRequest) -> Message:
        try:
            model = await self._handlers.model(message.name, message.version)
        except NotReadyError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=await self._plane.is_model_ready(model))

    async def describe_server(self, _: pb.ServerMetadataRequest) -> Message:
        return pb.ServerMetadataResponse(**self._handlers.describe_server())

    async def describe_model(self, message: pb.ModelMetadataRequest) -> Message:
        return pb.ModelMetadataResponse(**await self._handlers.describe_model(message.name, message.version))

    async def configuration(self, message: pb.ModelConfigRequest) -> Message:
        return pb.ModelConfigResponse(config=await self._handlers.describe_configuration(message.name, message.version))

    async def statistics(self, message: pb.ModelStatisticsRequest) -> Message:
        return pb.ModelStatisticsResponse(**self._handlers.statistics(message.name, message.version))

    async def index(self, message: pb.RepositoryIndexRequest) -> Message:
        return pb.RepositoryIndexResponse(models=self._handlers.index(message.ready))

    async def load(self, message: pb.RepositoryModelLoadRequest) -> Message:
        if message.parameters:
            raise InvalidRequestError("models are loaded by name from the repository: no configuration, files or URLs")
        await self._handlers.load(message.model_name)
        return pb.RepositoryModelLoadResponse()

    async def unload(self, message: pb.RepositoryModelUnloadRequest) -> Message:
        self._handlers.unload(message.model_name)
        return pb.RepositoryModelUnloadResponse()

    async def infer(self, message: pb.ModelInferRequest) -> Message:
        model = await self._handlers.model(message.model_name, message.model_version)
        parsed = parse_message(message, model.inputs, model.outputs, self._settings.max_rows)
        request_id = valid_request_id(message.id) or REQUEST_ID.get()
        # gRPC cancels this coroutine when the client disconnects, which drops the request if it still waits.
        routed_id = None if message.model_version else request_id
        model, arrays = await self._plane.infer(model, parsed.inputs, parsed.outputs, request_id=routed_id)
        self._log.add(request_id, model, parsed.inputs, arrays)
        return build_response(model.name, model.version, parsed, arrays, model.outputs)

    async def trace_settings(self, message: pb.TraceSettingRequest) -> Message:
        if message.model_name:
            await self._handlers.model(message.model_name, None)
        response = pb.TraceSettingResponse()
        for name, value in self._handlers.trace_settings(message.settings).items():
            response.settings[name].value.extend(value if isinstance(value, list) else [value])
        return response

    async def log_settings(self, message: pb.LogSettingsRequest) -> Message:
        response = pb.LogSettingsResponse()
        fields = {bool: "bool_param", int: "uint32_param", str: "string_param"}
        for name, value in self._handlers.log_settings(message.settings).items():
            setattr(response.settings[name], fields[type(value)], value)
        return response

    async def no_shared_memory(self, _: pb.SharedMemoryRequest) -> Message:
        return pb.SharedMemoryResponse()

    async def refuse_shared_memory(self, _: pb.SharedMemoryRequest) -> Message:
        raise InvalidRequestError(NO_SHARED_MEMORY)

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
            "TraceSetting": self.trace_settings,
            "LogSettings": self.log_settings,
            "ModelStreamInfer": self.infer,
            **dict.fromkeys(("SystemSharedMemoryRegister", "CudaSharedMemoryRegister"), self.refuse_shared_memory),
            **dict.fromkeys(("SystemSharedMemoryStatus", "CudaSharedMemoryStatus"), self.no_shared_memory),
            **dict.fromkeys(("SystemSharedMemoryUnregister", "CudaSharedMemoryUnregister"), self.no_shared_memory),
        }
        return {method.name: self._method_handler(method, handlers[method.name]) for method in SERVICE.methods}

    def _method_handler(self, method: Any, handler: MessageHandler) -> "grpc.RpcMethodHandler[bytes, Message]":
        message_type, check = GetMessageClass(method.input_type), self._auth_check(method.name)
        serializer = GetMessageClass(method.output_type).SerializeToString
        call = self._rpc_call(method.name, handler, message_type, check)
        if method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(stream_handler(call, check), response_serializer=serializer)
        return grpc.unary_unary_rpc_method_handler(unary_handler(call), response_serializer=serializer)

    def _auth_check(self, method: str) -> AuthCheck | None:
        if method in OPEN:
            return None
        return self._api_keys.require_admin if method in ADMIN else self._api_keys.require_client

    def _rpc_call(
        self, method: str, handler: MessageHandler, message_type: type[Message], check: AuthCheck | None
    ) -> RpcCall:
        """Return a function that handles a message, with authentication, request ID, hooks and metrics around it."""

        async def run(content: bytes, metadata: Mapping[str, str]) -> Outcome:
            try:
                if check is not None:
                    check(metadata.get("authorization", ""))
                return await handler(_decode(content, message_type)), grpc.StatusCode.OK, ""
            except Exception as error:
                return None, *status_codes.status(error)

        async def handle(content: bytes, metadata: Mapping[str, str], request_id: str) -> Outcome:
            start = time.perf_counter()
            REQUEST_ID.set(request_id)
            code = grpc.StatusCode.CANCELLED
            span = f"{SERVICE.full_name}/{method}"
            call = Call("POST", f"/{span}", span, "", request_id, metadata.get("traceparent", ""), code.name)
            try:
                with run_hooks(call, self._hooks):
                    response, code, details = await run(content, metadata)
                    call.status, call.is_server_error = code.name, code in status_codes.SERVER_ERRORS
            finally:
                self._record(code.name, time.perf_counter() - start)
            return response, code, details

        return handle


def _credentials(certificate: Certificate) -> grpc.ServerCredentials:
    """Return credentials whose certificate is that of the files whenever a client connects."""

    def configuration() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([certificate.refresh()])

    return grpc.dynamic_ssl_server_credentials(configuration(), configuration)


def _decode(content: bytes, message_type: type[Message]) -> Message:
    try:
        return message_type.FromString(content)
    except DecodeError:
        raise InvalidRequestError("this is not a message of the protocol") from None
