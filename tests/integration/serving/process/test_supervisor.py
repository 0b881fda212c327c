"""Supervisor: several worker processes on one address behave as one server."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import serving_kit as kit
import waiting
from waiting import WAIT_SECONDS

pytestmark = pytest.mark.slow

INFER = f"/v2/models/{kit.NAME}/infer"


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ask(server, images):
    """Ask on a connection of its own, so that the kernel picks a worker."""
    return waiting.post(server.url + INFER, json=kit.inference_request(images))


def counted(server):
    found = re.search(r'mnistflow_inferences_total\{.*version="1"\} (\S+)', waiting.get(server.url + "/metrics").text)
    return float(found[1]) if found else 0.0


def in_memory(server):
    """Return whether any worker reports a version in memory."""
    return 1.0 in map(float, re.findall(r"^mnistflow_model_info\{.*\} (\S+)$", server.metrics(), re.MULTILINE))


def test_workers_share_the_address_and_the_counts(repository, data, first):
    images = data[0][:2]
    with kit.Server(repository, "--workers", "2") as server:
        assert len(children(server.pid)) == 2
        for _ in range(20):
            values = ask(server, images).json()["outputs"][0]["data"]
            assert np.allclose(np.reshape(values, (2, 10)), first.probabilities(images), atol=1e-5)

        # Whichever worker is asked, it tells of all.
        assert {counted(server) for _ in range(8)} == {20.0}
        resident = re.search(r"^process_resident_memory_bytes (\S+)", server.metrics(), re.MULTILINE)
        assert resident
        workers = sum(psutil.Process(child).memory_info().rss for child in children(server.pid))
        assert float(resident[1]) == pytest.approx(workers, rel=0.2)
        assert server.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_unix_socket_is_one_address_as_well(repository, data, first, tmp_path, workers):
    path = tmp_path / "server.sock"
    arguments = ("--uds", str(path), "--workers", workers)
    for how in (signal.SIGKILL, signal.SIGTERM):  # the second start finds the file of a server that has died
        with kit.Server(repository, *arguments) as server:
            assert server.announcement.endswith(f" on unix:{path}")
            for _ in range(4):
                with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=WAIT_SECONDS) as client:
                    answer = client.post(f"http://localhost{INFER}", json=kit.inference_request(data[0][:2])).json()
                values = np.reshape(answer["outputs"][0]["data"], (2, 10))
                assert np.allclose(values, first.probabilities(data[0][:2]), atol=1e-5)
            with kit.Server(repository, *arguments) as second:
                assert second.announcement == ""
                assert f"cannot listen on {path}: another server does" in second.log[0]
            assert server.stop(how) == (-how if how == signal.SIGKILL else 0)
    path.unlink()
    path.write_text("notes")
    with kit.Server(repository, *arguments) as refused:
        assert "it is not a socket" in refused.log[0]
    assert path.read_text() == "notes"


def test_a_worker_that_dies_is_replaced(repository, data):
    with kit.Server(repository, "--workers", "2", MNISTFLOW_SERVE_ADMIN_KEYS="admin") as server:
        before = children(server.pid)
        os.kill(before[0], signal.SIGKILL)
        kit.wait_until(lambda: len(set(children(server.pid)) - set(before)) == 1)
        for _ in range(10):
            assert ask(server, data[0][:1]).status_code == 200
        assert in_memory(server)
        unload = f"{server.url}/v2/repository/models/{kit.NAME}/unload"
        assert waiting.post(unload, headers={"authorization": "Bearer admin"}).is_success
        kit.wait_until(lambda: not in_memory(server))
        assert server.stop(signal.SIGTERM) == 0


def test_no_worker_outlives_the_parent(repository):
    with kit.Server(repository, "--workers", "2") as server:
        workers = [psutil.Process(child) for child in children(server.pid)]
        os.kill(server.pid, signal.SIGKILL)
        _, left = psutil.wait_procs(workers, timeout=WAIT_SECONDS)
        assert left == []


def test_no_connection_is_taken_while_the_last_request_is_finished(repository, data):
    body = data[0][0].tobytes()
    with kit.Server(repository, "--workers", "2", "--drain-seconds", "30") as server:
        host, port = server.url.removeprefix("http://").split(":")

        def is_refused():
            try:
                socket.create_connection((host, int(port)), timeout=WAIT_SECONDS).close()
            except ConnectionRefusedError:
                return True
            return False

        with socket.create_connection((host, int(port)), timeout=WAIT_SECONDS) as begun:
            begun.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 784\r\nExpect: 100-continue\r\n\r\n")
            assert begun.recv(4096).startswith(b"HTTP/1.1 100")  # so it is under way
            os.kill(server.pid, signal.SIGTERM)
            kit.wait_until(is_refused)

            begun.sendall(body)

            assert begun.recv(4096).startswith(b"HTTP/1.1 200")
        assert server.stop() == 0


def test_workers_that_cannot_start_say_why(tmp_path, repository):
    command = [sys.executable, "-m", "serving", "--workers", "2", "--repository"]
    with kit.Server(repository) as server:
        port = server.url.rpartition(":")[2]
        taken = subprocess.run([*command, str(repository), "--port", port], capture_output=True, text=True, check=False)
    nothing = subprocess.run([*command, str(tmp_path), "--port", "0"], capture_output=True, text=True, check=False)

    assert (taken.returncode, nothing.returncode) == (1, 1)
    assert "--port" in taken.stderr
    assert "mnistflow retrain" in nothing.stderr


def test_workers_share_a_folder_that_is_not_that_of_prometheus_and_goes_with_the_server(repository):
    admin = {"authorization": "Bearer admin"}
    with kit.Server(repository, "--workers", "2", MNISTFLOW_SERVE_ADMIN_KEYS="admin") as server:
        environments = [psutil.Process(child).environ() for child in children(server.pid)]
        (shared,) = {Path(environment["MNISTFLOW_SERVE_SHARED"]) for environment in environments}
        (counters,) = {Path(environment["PROMETHEUS_MULTIPROC_DIR"]) for environment in environments}
        for call in ("unload", "load"):
            server.client.post(f"/v2/repository/models/{kit.NAME}/{call}", headers=admin).raise_for_status()

        assert [path.name for path in shared.iterdir()] == [f"{kit.NAME}.availability"]
        assert {path.suffix for path in counters.iterdir()} == {".db"}
        assert server.stop() == 0

    assert not shared.exists()
    assert not counters.exists()
