"""Address of the Prefect API that a running `schedule` or `up` has recorded for the other commands of its checkout."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from flows.orchestration import server_address
from mnistflow import files
from mnistflow.paths import Paths


class _Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[str]:
    """An HTTP server that calls itself healthy."""
    with HTTPServer(("127.0.0.1", 0), _Healthy) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()
        thread.join()


@pytest.fixture
def recorded(tmp_path: Path, api: str, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.delenv(server_address.API_VARIABLE, raising=False)
    paths = Paths(tmp_path, tmp_path)
    server_address.record_server(paths, api)
    return paths


def test_a_recorded_server_is_found_until_it_is_cleared(recorded: Paths, api: str) -> None:
    assert server_address.running_server(recorded) == api
    server_address.clear_server(recorded)
    assert server_address.running_server(recorded) is None
    assert server_address.is_expected(recorded)


def test_a_process_that_got_the_number_of_a_killed_one_is_not_taken_for_it(recorded: Paths) -> None:
    (path,) = recorded.var.rglob("server.json")
    record = files.read_json(path)
    record["process"] |= {"started": record["process"]["started"] - 60, "boot_ticks": ""}
    files.write_json(path, record)
    assert server_address.running_server(recorded) is None


def test_a_record_of_an_earlier_release_is_no_record(recorded: Paths) -> None:
    (path,) = recorded.var.rglob("server.json")
    files.write_json(path, files.read_json(path) | {"process": 1})
    assert server_address.running_server(recorded) is None
    assert not server_address.is_expected(recorded)
