"""HTTP connections: the same bytes get the same answers however they arrive, and no answer is lost at the end."""

import itertools
import json
import random
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import psutil
import pytest
import serving_kit as kit
from waiting import WAIT_SECONDS

pytestmark = pytest.mark.slow

INFER = f"/v2/models/{kit.NAME}/infer"
PIXELS = json.dumps(kit.inference_request(np.eye(28, dtype=np.uint8)[None] * 255)).encode()
MAX_BODY_BYTES = 2_000_000


def request(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    length = [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *length, *headers, "", ""]).encode() + body


def chunked(path: str, *chunks: bytes, trailer: str = "") -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return request("POST", path, "Transfer-Encoding: chunked") + body + f"0\r\n{trailer}\r\n".encode()


LIVE = request("GET", "/v2/health/live")
# Valid requests with their statuses.
REQUESTS = {
    LIVE: 200,
    request("GET", "/nowhere"): 404,
    request("DELETE", INFER): 405,
    request("POST", INFER, body=PIXELS): 200,
    request("POST", INFER, body=b"{}"): 400,
    request("POST", INFER, f"X-Request-Id: {'a' * 30}", body=PIXELS): 200,
    chunked(INFER, PIXELS[:1000], PIXELS[1000:]): 200,
    chunked("/nowhere", b"{}"): 404,
    # Trailers are no headers.
    chunked(INFER, PIXELS, trailer="Content-Encoding: zstd\r\n"): 200,
}
# What ends a connection, with the statuses that are answered to it.
ENDS = {
    "no HTTP": (b"nonsense\r\n\r\n", [400]),
    "another version": (LIVE.replace(b"1.1", b"7.7"), [400]),
    "a header without a colon": (LIVE.replace(b"Host: x", b"Host x"), [400]),
    "two lengths": (request("POST", INFER, "Transfer-Encoding: chunked", body=b"{}"), [400]),
    "an invalid chunk": (request("POST", INFER, "Transfer-Encoding: chunked") + b"2\r\n{}\r\nzz\r\n", [400]),
    "an invalid chunk that nobody reads": (request("POST", "/no", "Transfer-Encoding: chunked") + b"zz\r\n", [404]),
    "a large head": (request("GET", "/v2/health/live", *(f"A{n}: {'b' * 500}" for n in range(200))), [431]),
    "a large header": (request("GET", "/v2/health/live", f"A: {'b' * 100_000}"), [431]),
    "a tunnel": (request("CONNECT", "x:443"), [400]),
    "a request to close": (request("GET", "/v2/health/live", "Connection: close") + LIVE, [200]),
    "a request to upgrade": (
        request("GET", "/v2/health/live", "Connection: Upgrade", "Upgrade: websocket") + LIVE,
        [200],
    ),
    "HTTP/1.0": (LIVE.replace(b"1.1", b"1.0") + LIVE, [200]),
    "an upload that is too large": (
        request("POST", INFER, "Connection: close", body=b" " * (MAX_BODY_BYTES + 1)),
        [413],
    ),
}


@dataclass(frozen=True)
class Stream:
    """Bytes of a client on one connection, which the server closes, and the statuses of the answers."""

    content: bytes
    statuses: Sequence[int]

    @classmethod
    def random(cls, seed: int, end: str) -> "Stream":
        chance = random.Random(seed)
        requests = chance.choices([*REQUESTS], k=chance.randrange(6))
        last, statuses = ENDS[end]
        # The client goes on to send, which must not cost it an answer.
        rest = chance.randbytes(chance.choice((0, 10, 1_000_000)))
        return cls(b"".join(requests) + last + rest, [*(REQUESTS[request] for request in requests), *statuses])

    def pieces(self, seed: int) -> list[bytes]:
        chance = random.Random(seed)
        # Most requests are short beside what comes after them.
        places = [chance.randrange(min(len(self.content), 10_000)) for _ in range(chance.randrange(10))]
        cuts = [0, *sorted(places), len(self.content)]
        return [self.content[start:stop] for start, stop in itertools.pairwise(cuts)]


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, data: tuple[np.ndarray, np.ndarray], first: kit.Classifier
) -> Iterator[kit.Server]:
    folder = tmp_path_factory.mktemp("models")
    kit.publish(folder, 1, first, data[0])
    kit.set_champion(folder, 1)
    with kit.Server(folder, "--max-body-bytes", str(MAX_BODY_BYTES)) as running:
        yield running


def connect(server: kit.Server) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=WAIT_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def answers(server: kit.Server, pieces: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """Send pieces with a pause between two, then read status and body of every answer until the server closes."""
    with connect(server) as connection, connection.makefile("rb") as stream:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.003)
        found = []
        while line := stream.readline():
            lines = itertools.takewhile(bytes.strip, stream)
            headers = dict(line.lower().rstrip().split(b": ", 1) for line in lines)
            found.append((int(line.split()[1]), stream.read(int(headers[b"content-length"]))))
    return found


@pytest.mark.hostile
@pytest.mark.parametrize("end", ENDS)
def test_the_same_bytes_get_the_same_answers_wherever_they_are_cut(server: kit.Server, end: str) -> None:
    for seed in range(4):
        stream = Stream.random(seed, end)

        whole = answers(server, [stream.content])

        assert [status for status, _ in whole] == stream.statuses
        for cut in range(4):
            assert answers(server, stream.pieces(cut)) == whole, (seed, cut)


@pytest.mark.hostile
def test_a_client_that_never_closes_is_left(server: kit.Server) -> None:
    with connect(server) as silent, connect(server) as flooding:
        for connection in (silent, flooding):
            connection.sendall(b"nonsense\r\n\r\n")
        assert b"".join(iter(lambda: silent.recv(4096), b"")).startswith(b"HTTP/1.1 400")

        with pytest.raises(ConnectionError):
            for _ in range(1000):
                flooding.sendall(b" " * 100_000)

        places = {connection.getsockname() for connection in (silent, flooding)}
        process = psutil.Process(server.pid)
        kit.wait_until(lambda: not places & {tuple(entry.raddr) for entry in process.net_connections("tcp4")})


def test_a_client_that_is_turned_away_while_it_sends_is_told_so(repository) -> None:
    upload = request("POST", INFER, body=b" " * 500_000)
    with kit.Server(repository, "--max-connections", "1") as server, connect(server) as first:
        first.sendall(LIVE)
        assert first.recv(4096).startswith(b"HTTP/1.1 200")
        results: list[list[tuple[int, bytes]]] = []
        clients = [threading.Thread(target=lambda: results.append(answers(server, [upload]))) for _ in range(4)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()

        assert [[status for status, _ in found] for found in results] == [[503]] * 4
