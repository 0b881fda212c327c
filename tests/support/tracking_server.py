"""MLflow tracking server that can be killed and started again, S3 for it, and versions registered there."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import psutil
from cluster import free_port
from serving_kit import Classifier
from waiting import WAIT_SECONDS, wait_until

from mnistflow.data import catalog
from mnistflow.paths import Paths
from mnistflow.registry import registration, versions
from mnistflow.registry.manifest import Manifest, Tensor
from mnistflow.registry.versions import Version
from mnistflow.tracking import runs

BUCKET = "mnistflow"


@dataclass
class TrackingServer:
    """A server on a free port, whose store and artifacts are in a folder of its own.

    Attributes:
        arguments: of `mlflow server`, besides those of its store and port.
    """

    folder: Path
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[Any] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        served = self.arguments or ("--artifacts-destination", str(self.artifacts))
        store = ("--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *store, *served, "--port", str(self.port), "--workers", "1"],
                cwd=self.folder,
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **self.environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, self.process)

    def kill(self) -> None:
        """Kill -9 it and its workers."""
        if self.process and self.process.poll() is None:
            server = psutil.Process(self.process.pid)
            for process in (server, *server.children(recursive=True)):
                process.kill()
            self.process.wait()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=WAIT_SECONDS, verify=False).is_success
        except httpx.HTTPError:
            return False


@contextmanager
def tracking_server(folder: Path, *arguments: str, **environment: str) -> Iterator[TrackingServer]:
    """Run a server in the block."""
    server = TrackingServer(folder, arguments, environment)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """Run an S3 server with a bucket in the block; yield the environment variables of its clients."""
    from moto.server import ThreadedMotoServer

    port = free_port()
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    url = f"http://127.0.0.1:{port}"
    try:
        httpx.put(f"{url}/{BUCKET}", timeout=WAIT_SECONDS, verify=False).raise_for_status()
        yield {
            "AWS_ENDPOINT_URL": url,
            "MLFLOW_S3_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        server.stop()


def register(paths: Paths, dataset: str, classifier: Classifier, images: np.ndarray) -> Version:
    """Register a classifier of images as a new version in the store that `MLFLOW_TRACKING_URI` names."""
    run = runs.start(paths, dataset, "registered", kind="retrain")
    run.log_params({"model.family": "mlp"})
    file = paths.var / "model.onnx"
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(classifier.onnx(), file)
    facts = Manifest(
        name=versions.model_name(dataset),
        task="image_classification",
        dataset=dataset,
        classes=tuple(map(str, range(10))),
        inputs=(Tensor("images", "UINT8", (-1, 28, 28)),),
        outputs=(Tensor("probabilities", "FP32", (-1, 10)),),
        preprocessing=catalog.described(dataset, tuple(map(str, range(10)))).preprocessing,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        data_sha256=hashlib.sha256(images.tobytes()).hexdigest(),
        metrics={"accuracy": 0.9},
        run_id=run.run_id,
        git_commit="",
        created="2026-01-01T00:00:00+00:00",
        mnistflow_version="0",
        doubt=None,
    )
    version = registration.register(run, file, None, images[: registration.PROBE_ROWS], facts)
    run.finish()
    return version
