"""Retries of the steps of a flow: each server in use goes away before a step, and comes back after some seconds."""

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import psutil
import pytest
from checkouts import QUICK, Checkout, make_checkout, write_params
from cluster import BINARIES, free_port, postgresql, wait_for_port
from mirror import Mirror
from switch import Switch

from mnistflow.data.sources import digits

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.timeout(1800),  # waits a second or two at each step
    pytest.mark.skipif(not BINARIES, reason="needs PostgreSQL: apt-get install postgresql"),
]

MLFLOW_STEPS = ("reconcile", "train", "record", "find_registered", "register", "find_champion", "compare", "publish")
NO_RETRIES_OF_ITS_OWN = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


class Store(SimpleHTTPRequestHandler):
    """A web server that keeps what is put there, as DVC's HTTP remotes need it."""

    def do_PUT(self) -> None:
        path = Path(self.translate_path(self.path))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self._body())
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_PUT  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def log_message(self, *_: object) -> None:
        pass


def published_as_mnist(checkout: Checkout, folder: Path) -> None:
    """Write scikit-learn's digits into a mirror's folder, and let the checkout take them for MNIST's files."""
    folder.mkdir(parents=True)
    described = {}
    for path in digits.write_official_files(folder):
        raw = path.read_bytes()
        packed = gzip.compress(raw, mtime=0)
        path.with_name(f"{path.name}.gz").write_bytes(packed)
        path.unlink()
        hashes = {
            "sha256": hashlib.sha256(packed).hexdigest(),
            "md5": "",
            "raw_sha256": hashlib.sha256(raw).hexdigest(),
        }
        described[f"{path.name}.gz"] = {"bytes": len(packed), "raw_bytes": len(raw), **hashes}
    catalog = checkout.folder / "src/mnistflow/data/catalog.json"
    entries = json.loads(catalog.read_text())
    entries["mnist"]["files"] = described
    catalog.write_text(json.dumps(entries))


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Switch]:
    """An HTTP server for DVC's remote, behind a switch."""
    folder = tmp_path / "remote"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Store, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with Switch(server.server_port) as switch:
            yield switch
        server.shutdown()


@pytest.fixture
def mlflow(tmp_path: Path) -> Iterator[Switch]:
    """An MLflow server, behind a switch."""
    port = free_port()
    store = f"sqlite:///{tmp_path}/tracking.db"
    command = ["-m", "mlflow", "server", "--backend-store-uri", store, "--port", str(port), "--workers", "1"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (tmp_path / "mlflow.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, *command], cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for_port(port, server)
        with Switch(port) as switch:
            yield switch
    finally:
        for process in (*psutil.Process(server.pid).children(recursive=True), psutil.Process(server.pid)):
            process.kill()
        server.wait()


def test_every_step_waits_for_the_server_that_it_needs(
    tmp_path: Path, prefect_api: str, mlflow: Switch, remote: Switch
) -> None:
    with ExitStack() as stack:
        checkout = stack.enter_context(closing(make_checkout(tmp_path / "checkout", PREFECT_API_URL=prefect_api)))
        published_as_mnist(checkout, tmp_path / "mirrors/mnist")
        web = stack.enter_context(Mirror(tmp_path / "mirrors"))
        mirror = stack.enter_context(Switch(int(web.url.rpartition(":")[2])))
        storage = stack.enter_context(postgresql())
        database = stack.enter_context(Switch(int(storage.rpartition(":")[2].partition("/")[0])))
        write_params(
            checkout,
            **{
                **QUICK,
                "fetch.dataset": "mnist",
                "fetch.mirrors": f"[{mirror.url}]",
                "fetch.fallback": "null",
                "fetch.attempts": "1",
                "train.epochs": "2",
                "evaluate.repeats": "3",
                "tune.storage": f"postgresql://postgres@127.0.0.1:{database.port}/postgres",
            },
        )
        checkout.tool("dvc", "remote", "modify", "--local", "local", "url", remote.url)
        needed = {
            "resolve": mirror,
            "fetch": mirror,
            "tune": database,
            "remote": remote,
            "push": remote,
            **dict.fromkeys(MLFLOW_STEPS, mlflow),
        }
        sources = [str(checkout.folder / "src"), str(checkout.folder), str(Path(__file__).parents[2] / "support")]
        process = subprocess.Popen(
            [sys.executable, "-m", "one_by_one"],
            cwd=checkout.folder,
            env={
                **checkout.environment,
                **NO_RETRIES_OF_ITS_OWN,
                "MLFLOW_TRACKING_URI": mlflow.url,
                "MNISTFLOW_RETRY_DELAYS": "1 2 4 8 16 32",
                "PYTHONPATH": os.pathsep.join(sources),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        checkout.started.append(process)
        tried_again = disturb(process, needed, checkout)
        assert process.wait() == 0, tried_again
        assert set(tried_again) == set(needed)


def disturb(process: subprocess.Popen[str], needed: dict[str, Switch], checkout: Checkout) -> list[str]:
    """Switch off the server of each step before it begins, and on again at its first retry.

    Returns:
        The steps that were tried again.
    """
    assert process.stdin
    assert process.stdout
    tried_again: list[str] = []
    lines: list[str] = []
    step = ""
    for line in process.stdout:
        lines.append(line)
        if found := re.match(r"next: (\w+)$", line):
            assert step in tried_again or step not in needed, "".join(lines)
            step = found[1]
            if step in needed:
                needed[step].off()
            if step == "fetch":
                shutil.rmtree(checkout.folder / "var/downloads")
            process.stdin.write("\n")
            process.stdin.flush()
        elif "Retry 1/" in line:
            needed[step].on()
            tried_again.append(step)
    assert process.wait() == 0, "".join(lines)
    return tried_again
