"""Tasks other than images, from the first stage to the server that answers for them."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkouts import QUICK, Checkout, make_checkout, write_params
from serving_kit import Server
from waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long]

TINY = {
    **QUICK,
    "fetch.dataset": "vectors",
    "model.mlp.units": "[32]",
    "tune.trials": "0",
    "train.epochs": "4",
    "evaluate.repeats": "3",
    "gate.max_mse": "0.1",
}
SHORT = {"train.epochs": "4"}  # of the preset's twelve
PROMISED = {
    "sine-forecaster": ("windows", [10, 1], "next_values"),
    "sales_series-forecaster": ("windows", [24, 1], "next_values"),
    "vectors-classifier": ("features", [100], "probability"),
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Iterator[Checkout]:
    """A checkout after two retrainings of sine and vectors, side by side, and one of a CSV file.

    Those of the vectors have settings in params.yaml.
    """
    made = make_checkout(tmp_path_factory.mktemp("tasks") / "checkout", PREFECT_API_URL=prefect_api)
    write_params(made, **TINY)
    worse = {"train.epochs": "1", "train.learning_rate": "0.0001", "gate.min_accuracy": "0", "gate.max_mse": "10"}
    with ThreadPoolExecutor(2) as pool:
        vectors = pool.submit(made.run, "retrain")
        wait_until(lambda: vectors.done() or (made.folder / "var/runs").is_dir())  # the stores are made by then
        sine = pool.submit(made.run, "retrain", "--preset", "sine", **SHORT)
        assert "promoted: vectors-classifier version 1, test accuracy 9" in vectors.result().stdout
        assert "promoted: sine-forecaster version 1, test mse 0.0" in sine.result().stdout
        vectors = pool.submit(made.run, "retrain", **worse, **{"gate.min_class_recall": "0"})
        sine = pool.submit(made.run, "retrain", "--preset", "sine", **worse)
        assert "kept as challenger: vectors-classifier version 2" in vectors.result().stdout
        own = pool.submit(made.run, "retrain", "--preset", "series", **own_series(made))
        assert "kept as challenger: sine-forecaster version 2" in sine.result().stdout
        assert "promoted: sales_series-forecaster version 1" in own.result().stdout
    yield made
    made.close()


def own_series(made: Checkout) -> dict[str, str]:
    """Write a CSV file beside a checkout, and return the settings of a short training on it."""
    lines = [f"{step},{100 + 20 * np.sin(step / 2):.2f}" for step in range(400)]
    (made.folder.parent / "sales.csv").write_text("\n".join(["hour,sold", *lines]))
    own = {"fetch.dataset": "sales_series", "fetch.own": "{sales_series: ../sales.csv}"}
    return {**own, "train.epochs": "1", "gate.max_mse": "10"}


@pytest.fixture(scope="module")
def server(checkout: Checkout) -> Iterator[Server]:
    with Server(checkout.folder / "var/models") as running:
        yield running


def probe(checkout: Checkout, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return recorded inputs and outputs of a model."""
    with np.load(checkout.folder / "var/models" / name / "1/probe.npz") as arrays:
        return arrays["inputs"], arrays["outputs"]


def inference_request(name: str, inputs: np.ndarray) -> dict[str, Any]:
    tensor = {"name": name, "datatype": "FP32", "shape": list(inputs.shape), "data": inputs.ravel().tolist()}
    return {"inputs": [tensor]}


@pytest.mark.parametrize("name", PROMISED)
def test_the_model_is_described_and_served(checkout: Checkout, server: Server, name: str) -> None:
    input_name, shape, output_name = PROMISED[name]
    described = server.client.get(f"/v2/models/{name}").json()
    assert described["inputs"] == [{"name": input_name, "datatype": "FP32", "shape": [-1, *shape]}]
    assert described["outputs"] == [{"name": output_name, "datatype": "FP32", "shape": [-1, 1]}]
    inputs, outputs = probe(checkout, name)
    answer = server.client.post(f"/v2/models/{name}/infer", json=inference_request(input_name, inputs))
    assert answer.status_code == 200
    assert answer.json()["outputs"][0]["data"] == pytest.approx(outputs.ravel(), abs=1e-5)
    wrong = server.client.post(f"/v2/models/{name}/infer", json=inference_request(input_name, inputs[:, :5]))
    assert wrong.status_code == 400
    assert str(shape[0]) in wrong.json()["error"]


def test_pictures_are_refused_in_one_line_and_the_server_is_ready(server: Server) -> None:
    for answer in (server.client.get("/predict"), server.client.post("/predict", content=bytes(784))):
        assert answer.status_code == 404
        assert "does not classify images of 28x28, use /v2 for it" in answer.json()["error"]
    assert server.client.get("/").status_code == 200
    assert server.client.get("/v2/health/ready").json() == {"ready": True}


def test_a_server_starts_with_a_single_model_that_takes_no_pictures(checkout: Checkout, tmp_path: Path) -> None:
    shutil.copytree(checkout.folder / "var/models/sine-forecaster", tmp_path / "sine-forecaster")
    inputs, outputs = probe(checkout, "sine-forecaster")
    with Server(tmp_path) as alone:
        answer = alone.client.post("/invocations", json={"inputs": inputs.tolist()})
    assert np.array(answer.json()["predictions"]["next_values"]) == pytest.approx(outputs, abs=1e-5)


def test_the_record_holds_the_metrics_and_pictures_of_the_task(checkout: Checkout) -> None:
    row, _ = json.loads(checkout.run("leaderboard", "--dataset", "sine", "--json").stdout)
    assert (row["metric"], row["version"], row["aliases"], row["errors"]) == ("mse", 1, ["champion"], None)
    assert 0 < row["score"] < 0.1
    (own,) = json.loads(checkout.run("leaderboard", "--dataset", "sales_series", "--json").stdout)
    logged = dict(checkout.query("select key, value from latest_metrics where run_uuid = ?", own["run_id"]))
    assert logged["test_mse_seasonal"] < logged["test_mse_persistence"]
    found = {path.relative_to(path.parents[2]).as_posix() for path in checkout.folder.glob("var/mlflow/artifacts/**/*")}
    assert {
        "evaluate/pictures/predictions.png",
        "evaluate/pictures/roc.png",
        "evaluate/tables/predictions.csv",
    } <= found
    page = checkout.folder / "plots"
    checkout.tool("dvc", "plots", "show", "-o", str(page))
    assert "roc.png" in (page / "index.html").read_text()
    assert "roc_auc" in checkout.tool("dvc", "metrics", "show")


@pytest.mark.parametrize(
    ("name", "test"), [("sine-forecaster", "Wilcoxon signed-rank"), ("vectors-classifier", "McNemar exact")]
)
def test_the_gate_asks_the_paired_test_of_the_task(checkout: Checkout, name: str, test: str) -> None:
    tags = dict(checkout.query("select key, value from model_version_tags where name = ? and version = 2", name))
    ((run,),) = checkout.query("select run_id from model_versions where name = ? and version = 2", name)
    (kept,) = checkout.folder.glob(f"var/mlflow/artifacts/**/{run}/artifacts/gate/evidence.json")
    evidence = json.loads(kept.read_text())["champion"]
    assert tags["mnistflow.decision"] == "hold"
    assert (evidence["version"], evidence["test"]["name"]) == (1, test)
    assert evidence["test"]["losses"] > evidence["test"]["wins"]
    assert not evidence["test"]["favours_candidate"]


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (["tune", "-S", "model.family=cnn"], "cnn needs inputs of 2 dimensions, but those of this data set have"),
        (["retrain", "-S", "model.family=forest"], "forest predicts class probabilities, which task binary_"),
        (["sweep", "--families", "mlp,svm"], "svm predicts class probabilities, which task binary_"),
    ],
)
def test_a_family_that_cannot_learn_from_such_data_is_refused_in_one_line(
    checkout: Checkout, command: list[str], problem: str
) -> None:
    done = checkout.run(*command, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: model.family: {problem}")
    assert line.endswith("Choose one of: linear, mlp, ensemble.")


def test_a_sweep_of_all_families_with_a_preset_leaves_out_those_that_cannot_learn_from_its_data(
    checkout: Checkout,
) -> None:
    done = checkout.run("sweep", "--preset", "vectors", "--jobs", "1", "--json", **{"train.epochs": "1"})
    result = json.loads(done.stdout)
    assert {row["name"] for row in result["families"]} == {"linear", "mlp"}
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("left out")]
    assert line == (
        "left out, because they cannot learn from vectors: "
        "cnn, rnn, lstm, gru, attention, resnet, svm, tree, forest, boosting, gan"
    )
