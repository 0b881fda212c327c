"""The registered version, served by MLflow's own server."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
import pytest
import waiting
from checkouts import Checkout
from waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("retrained")]


@pytest.fixture
def served(retrained: Checkout, tmp_path: Path) -> Iterator[str]:
    """`mlflow models serve` of the champion."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    store = f"sqlite:///{retrained.folder}/var/mlflow/mlflow.db"
    model = ["-m", "models:/digits-classifier@champion", "--env-manager", "local", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "models", "serve", *model],
            env={**retrained.environment, "MLFLOW_TRACKING_URI": store},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    wait_until(lambda: answers(f"{address}/ping") or process.poll() is not None)
    assert process.poll() is None, (tmp_path / "log").read_text()
    yield address
    os.killpg(process.pid, 15)
    process.wait()


def answers(url: str) -> bool:
    try:
        return waiting.get(url).is_success
    except httpx.HTTPError:
        return False


def test_mlflow_serves_the_registered_version(retrained: Checkout, served: str) -> None:
    champion = retrained.folder / "var/models/digits-classifier/1"
    with np.load(champion / "probe.npz") as probe:
        images = probe["inputs"]
    session = onnxruntime.InferenceSession((champion / "model.onnx").read_bytes())
    expected = session.run(None, {"images": images})[0]
    answer = waiting.post(f"{served}/invocations", json={"inputs": {"images": images.tolist()}})
    assert answer.is_success, answer.text
    assert np.allclose(answer.json()["predictions"]["probabilities"], expected, atol=1e-6)
