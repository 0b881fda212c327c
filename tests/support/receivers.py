"""Receivers of notifications on this machine: an HTTP server and a mail server that keep what they get."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LOCAL = "127.0.0.1"


@dataclass
class Webhook:
    """An HTTP server that takes JSON.

    Attributes:
        refused: number of the first requests that get status 503.
        bodies: of the requests that were accepted.
    """

    refused: int = 0
    url: str = ""
    bodies: list[Any] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        return [body["text"] for body in self.bodies]


@dataclass
class MailServer:
    """An SMTP server without TLS and users."""

    url: str = ""
    messages: list[Message] = field(default_factory=list)


@contextmanager
def webhook(refused: int = 0) -> Iterator[Webhook]:
    """Run a webhook for the block."""
    state = Webhook(refused)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if state.refused:
                state.refused -= 1
                self.send_response(503)
            else:
                state.bodies.append(body)
                self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with _served(ThreadingHTTPServer((LOCAL, 0), Handler)) as port:
        state.url = f"http://{LOCAL}:{port}/services/T0/secret"
        yield state


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """Run a mail server for the block."""
    state = MailServer()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            for line in self.rfile:
                command = line.split()[0].upper()
                if command == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    content = b"".join(iter(self.rfile.readline, b".\r\n"))
                    state.messages.append(message_from_bytes(content, policy=default))
                self.wfile.write(b"221 bye\r\n" if command == b"QUIT" else b"250 fine\r\n")

    with _served(socketserver.ThreadingTCPServer((LOCAL, 0), Handler)) as port:
        state.url = f"smtp://{LOCAL}:{port}"
        yield state


@contextmanager
def _served(server: socketserver.TCPServer) -> Iterator[int]:
    """Serve in a thread for the block; yields the port."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
