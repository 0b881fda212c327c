"""An HTTP mirror that misbehaves on demand."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self


class Mirror:
    """Serves a folder over HTTP with ranges.

    Attributes:
        requests: path and Range header of each request, in order.
        faults: what to do instead of a right answer, one a request: a status, `cut`, `corrupt` or `stall`.
    """

    def __init__(self, folder: Path, *faults: int | str) -> None:
        self.requests: list[tuple[str, str | None]] = []
        self.faults = list(faults)
        self._released = threading.Event()
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror._answer(self, folder)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler, folder: Path) -> None:
        wanted = request.headers.get("Range")
        self.requests.append((request.path, wanted))
        fault = self.faults.pop(0) if self.faults else None
        path = folder / request.path.lstrip("/")
        if isinstance(fault, int) or not path.is_file():
            request.send_error(fault if isinstance(fault, int) else 404)
            return
        content = path.read_bytes()
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        body = content[start:]
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if fault == "stall":
            self._released.wait(30)
        elif fault == "cut":
            request.wfile.write(body[: len(body) // 2])
        elif fault == "corrupt":
            request.wfile.write(bytes(byte ^ 255 for byte in body))
        else:
            request.wfile.write(body)
