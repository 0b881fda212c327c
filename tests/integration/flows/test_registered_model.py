"""The registered version, as users of MLflow find it: its pages, its flavours, and MLflow's own server."""

import getpass
import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
import pytest
import waiting
from checkouts import Checkout
from mlflow import MlflowClient
from waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("retrained")]


@pytest.fixture
def served(retrained: Checkout, tmp_path: Path) -> Iterator[str]:
    """`mlflow models serve` of the champion."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    model = ["-m", "models:/digits-classifier@champion", "--env-manager", "local", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "models", "serve", *model],
            env={**retrained.environment, "MLFLOW_TRACKING_URI": store(retrained)},
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


# A trained model answers before calibration, which changes no prediction.
LOAD = """
import sys, numpy, mlflow, mnistflow.models.layers.levels
images = numpy.load(sys.argv[1])["inputs"]
uri = "models:/digits-classifier@champion"
graph = mlflow.onnx.load_model(uri).graph
named = mlflow.pyfunc.load_model(uri).predict({graph.input[0].name: images})[graph.output[0].name]
trained = mlflow.keras.load_model(uri).predict(images, verbose=0)
assert named.shape == trained.shape
assert (named.argmax(axis=1) == trained.argmax(axis=1)).all()
"""


def test_the_champion_loads_in_every_flavour(retrained: Checkout) -> None:
    probe = retrained.folder / "var/models/digits-classifier/1/probe.npz"
    environment = {**retrained.environment, "MLFLOW_TRACKING_URI": store(retrained)}
    replace(retrained, environment=environment).python(LOAD, str(probe))


def test_a_version_describes_itself(retrained: Checkout) -> None:
    client = MlflowClient(store(retrained))
    version = client.get_model_version("digits-classifier", "1")
    run = client.get_run(version.run_id)
    served = json.loads((retrained.folder / "var/models/digits-classifier/1/model.json").read_text())
    assert {key: version.tags[f"mnistflow.{key}"] for key in ("dataset", "family", "decision", "user")} == {
        "dataset": "digits",
        "family": "mlp",
        "decision": "promote",
        "user": f"{getpass.getuser()}@{socket.gethostname()}",
    }
    assert float(version.tags["mnistflow.accuracy"]) == served["metrics"]["accuracy"]
    assert max(map(len, version.tags.values())) < 200
    wanted = "tags.`mnistflow.decision` = 'promote' and tags.`mnistflow.family` = 'mlp'"
    assert [found.version for found in client.search_model_versions(wanted)] == [version.version]
    page = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    links = (page, "[prediction server](http://")
    for text in ("**Promoted:** no champion yet", "95 % interval", "models:/digits-classifier@champion", *links):
        assert text in version.description
    commit = retrained.tool("git", "rev-parse", "HEAD").strip()
    assert f"git checkout {commit}\nmnistflow retrain" in version.description
    assert "champion | the one that servers use" in client.get_registered_model("digits-classifier").description


def test_run_version_and_flow_run_lead_to_each_other(retrained: Checkout) -> None:
    client = MlflowClient(store(retrained))
    version = client.get_model_version("digits-classifier", "1")
    run = client.get_run(version.run_id)
    assert run.data.tags["mnistflow.version"] == "digits-classifier/1"
    assert "(./#/models/digits-classifier/versions/1?" in run.data.tags["mlflow.note.content"]
    assert uuid.UUID(run.data.tags["prefect.flow_run_id"])
    assert "prefect.flow_run_url" not in run.data.tags  # of a server without pages, which has ended
    (kept,) = (retrained.folder / "var/mlflow").glob(f"**/{run.info.run_id}/artifacts/gate/evidence.json")
    evidence = json.loads(kept.read_text())
    assert (evidence["version"], evidence["decision"], evidence["champion"]) == (1, "promote", None)
    (logged,) = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert logged.name == run.info.run_name


def store(checkout: Checkout) -> str:
    return f"sqlite:///{checkout.folder}/var/mlflow/mlflow.db"


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
