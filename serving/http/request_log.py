"""Request log: a JSON line for each request, and the hooks that observe single requests."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

import orjson

from serving.http.application import Middleware
from serving.http.request import Request
from serving.http.response import Response
from serving.http.router import RequestHandler, Router

log = logging.getLogger("serving.requests")

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
# A path may be as long as a request head.
MAX_LOGGED_PATH = 256
# Fields of every line that is logged while the current request is handled, such as its ID.
LOG_FIELDS: ContextVar[Mapping[str, str]] = ContextVar("LOG_FIELDS", default=MappingProxyType({}))


@dataclass(slots=True)
class Call:
    """An HTTP request or gRPC call while it is handled, as hooks see it.

    Attributes:
        method: as sent; `POST` for gRPC.
        path: as sent; the full name of the method for gRPC.
        span: name of the span: method and route, or service and method of gRPC.
        route: of HTTP, with names in place of what a client chose; empty for gRPC.
        request_id: as in the response.
        parent: W3C `traceparent` of the trace that the call belongs to; empty if there is none.
        status: HTTP or gRPC status; set when the call ends.
        is_server_error: whether the server caused a failure; set when the call ends.
    """

    method: str
    path: str
    span: str
    route: str
    request_id: str
    parent: str
    status: int | str = ""
    is_server_error: bool = False


# Enclose a call, from before its handler runs until its status is known.
CallHook = Callable[[Call], AbstractContextManager[None]]


class JsonFormatter(logging.Formatter):
    """Formats a log record as one line of JSON, with the keys of `extra={"fields": ...}` beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **LOG_FIELDS.get(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def configure_logging(log_format: str) -> None:
    """Log to standard error, as `text` or as `json`."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else logging.Formatter(TEXT_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(log_format == "json")


@contextmanager
def log_call(call: Call) -> Iterator[None]:
    """Hook that logs one line per call, and adds the request ID to the lines logged meanwhile."""
    # Not reset afterwards, because the context belongs to the task of this request.
    LOG_FIELDS.set({**LOG_FIELDS.get(), "request_id": call.request_id})
    start = time.perf_counter()
    try:
        yield
    finally:
        fields = {
            "method": call.method,
            "path": call.path[:MAX_LOGGED_PATH],
            "status": call.status,
            "milliseconds": round((time.perf_counter() - start) * 1000, 3),
        }
        log.info("answered", extra={"fields": fields})


@contextmanager
def run_hooks(call: Call, hooks: Sequence[CallHook]) -> Iterator[None]:
    """Enclose a call in hooks, the first outermost."""
    with ExitStack() as stack:
        for hook in hooks:
            stack.enter_context(hook(call))
        yield


def hook_middleware(hooks: Sequence[CallHook], router: Router) -> Middleware:
    """Return middleware that runs hooks around each request, which name its route."""

    def wrap(handler: RequestHandler) -> RequestHandler:
        async def handle(request: Request) -> Response:
            route = router.match(request.head).route
            span = f"{request.method} {route}"
            call = Call(request.method, request.path, span, route, request.id, request.header(b"traceparent"))
            with run_hooks(call, hooks):
                response = await handler(request)
                call.status, call.is_server_error = response.status, response.status >= 500
            return response

        return handle

    return wrap
