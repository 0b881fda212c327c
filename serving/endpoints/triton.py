"""Triton's extensions beside inference: settings of traces and logs, and shared memory, which is not offered.

https://github.com/triton-inference-server/server/tree/main/docs/protocol
"""

from collections.abc import Mapping
from typing import Any

from serving.engine.protocol_handlers import ProtocolHandlers
from serving.errors import InvalidRequestError
from serving.http.request import Request
from serving.http.response import Response, json_response
from serving.http.router import Route
from serving.protocol.json_fields import as_object, parse_json
from serving.protocol.json_request import NO_SHARED_MEMORY
from serving.settings import Settings

MAX_BYTES = 64 * 1024
REGION = "/v2/(?:system|cuda)sharedmemory(?:/region/(?P<region>[^/]+))?"


class TritonEndpoints:
    """Endpoints `/v2/trace/setting`, `/v2/logging` and `/v2/systemsharedmemory/...`, `/v2/cudasharedmemory/...`."""

    def __init__(self, handlers: ProtocolHandlers, settings: Settings) -> None:
        self._handlers = handlers
        self._receive_seconds = settings.receive_seconds

    def routes(self) -> list[Route]:
        paths = {
            "/v2/trace/setting": self.traces,
            "/v2/models/(?P<model>[^/]+)/trace/setting": self.traces,
            "/v2/logging": self.logs,
        }
        return [
            *(Route(method, path, handler) for path, handler in paths.items() for method in ("GET", "POST")),
            Route("GET", REGION + "/status", self.regions),
            Route("POST", REGION + "/unregister", self.unregister),
            Route("POST", REGION + "/register", self.register),
        ]

    async def traces(self, request: Request, name: str | None = None) -> Response:
        if name is not None:
            await self._handlers.model(name, None)
        return json_response(self._handlers.trace_settings(await self._changes(request)))

    async def logs(self, request: Request) -> Response:
        return json_response(self._handlers.log_settings(await self._changes(request)))

    async def regions(self, _: Request, __: str | None) -> Response:
        return json_response([])

    async def unregister(self, _: Request, __: str | None) -> Response:
        return json_response({})

    async def register(self, _: Request, __: str | None) -> Response:
        raise InvalidRequestError(NO_SHARED_MEMORY)

    async def _changes(self, request: Request) -> Mapping[str, Any]:
        if request.method == "GET":
            return {}
        body = await request.body(MAX_BYTES, self._receive_seconds)
        return as_object(parse_json(body), "the request") if body else {}
