"""What is told of single requests, where that is switched on: lines of JSON, and whatever else watches calls."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

import orjson

from serving.http.request import Request
from serving.http.router import RequestHandler, Response

log = logging.getLogger("serving.requests")

TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
# A path may be as long as a head may be.
MAX_PATH = 256
# What every line has that is logged while a request is answered, such as its id.
FIELDS: ContextVar[Mapping[str, str]] = ContextVar("FIELDS", default=MappingProxyType({}))


@dataclass(slots=True)
class Call:
    """A request, of HTTP or gRPC, while it is answered.

    Attributes:
        method, path: as sent; of gRPC, `POST` and the full name of the method.
        endpoint: one of few.
        id: as in the answer.
        parent: of the trace that it belongs to (W3C `traceparent`); empty for none.
        status: of HTTP or gRPC, known at the end.
        has_failed: whether the server is to blame, known at the end.
    """

    method: str
    path: str
    endpoint: str
    id: str
    parent: str
    status: int | str = ""
    has_failed: bool = False


CallHook = Callable[[Call], AbstractContextManager[None]]


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON; what came with it in `extra={"fields": ...}` stands beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **FIELDS.get(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def configure_logging(log_format: str) -> None:
    """Log to the standard error stream, as `text` or as `json`."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(log_format == "json")


@contextmanager
def log_call(call: Call) -> Iterator[None]:
    """Log one line for a call, and let all that is logged meanwhile carry its id."""
    # The context is that of the request's task, so nothing has to be put back.
    FIELDS.set({**FIELDS.get(), "request_id": call.id})
    start = time.perf_counter()
    try:
        yield
    finally:
        fields = {
            "method": call.method,
            "path": call.path[:MAX_PATH],
            "status": call.status,
            "milliseconds": round((time.perf_counter() - start) * 1000, 3),
        }
        log.info("answered", extra={"fields": fields})


@contextmanager
def watched(call: Call, hooks: Sequence[CallHook]) -> Iterator[None]:
    """Let all of them watch, the first one outermost."""
    with ExitStack() as stack:
        for watcher in hooks:
            stack.enter_context(watcher(call))
        yield


def hook_middleware(
    answering: RequestHandler, *, hooks: Sequence[CallHook], endpoint: Callable[[str], str]
) -> RequestHandler:
    """Return what answers requests while they are watched."""

    async def answer(request: Request) -> Response:
        parent = request.header(b"traceparent")
        call = Call(request.method, request.path, endpoint(request.path), request.id, parent)
        with watched(call, hooks):
            given = await answering(request)
            call.status, call.has_failed = given.status, given.status >= 500
        return given

    return answer
