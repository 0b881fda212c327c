"""A generator of digits from the first stage to the server that draws with it, and a second one against it."""

import io
import json
from collections.abc import Iterator

import numpy as np
import pytest
from checkouts import QUICK, Checkout, make_checkout, write_params
from PIL import Image
from serving_kit import Server

pytestmark = [pytest.mark.slow, pytest.mark.long]

NAME = "digits-generator"
TINY = {
    "fetch.dataset": "digits_generation",
    "model.gan.generator": "8",
    "model.gan.discriminator": "4",
    "train.epochs": "2",
    "train.min_steps": "0",
    "train.learning_rate": "0.001",
    "train.ema": "0.9",
    "evaluate.repeats": "3",
    "gate.max_frechet_distance": "100000",
    "gate.min_class_recall": "0",
    "gate.max_recall_drop": "1",
}
PICTURES = {"train/pictures/film.gif", "train/pictures/interpolation.png", "evaluate/pictures/generated.png"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout with a generator that serves, and one with half the steps that the gate has held."""
    made = make_checkout(tmp_path_factory.mktemp("generation") / "checkout")
    write_params(made, **{key: value for key, value in QUICK.items() if not key.startswith("model.")})
    assert f"promoted: {NAME} version 1, test frechet_distance" in made.run("retrain", "--preset", "gan", **TINY).stdout
    worse = made.run("retrain", "--preset", "gan", **{**TINY, "train.epochs": "1"})
    assert f"kept as challenger: {NAME} version 2" in worse.stdout
    yield made
    made.close()


def test_the_version_is_published_as_its_contract_says(checkout: Checkout) -> None:
    folder = checkout.folder / "var/models" / NAME
    manifest = json.loads((folder / "1/model.json").read_text())
    assert manifest["inputs"] == [
        {"name": "latent", "datatype": "FP32", "shape": [-1, 64]},
        {"name": "class", "datatype": "INT64", "shape": [-1]},
    ]
    assert manifest["outputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 28, 28]}]
    assert (manifest["task"], manifest["classes"]) == ("generation", list("0123456789"))
    assert manifest["metrics"].keys() >= {"frechet_distance", "frechet_floor", "agreement", "nearest_ratio", "copies"}
    assert (
        'name: "class" data_type: TYPE_INT64 dims: [1] reshape: { shape: [] }' in (folder / "config.pbtxt").read_text()
    )


def test_a_server_draws_with_it(checkout: Checkout) -> None:
    with np.load(checkout.folder / "var/models" / NAME / "1/probe.npz") as arrays:
        inputs, outputs = arrays["inputs"], arrays["outputs"]
    tensors = [
        {"name": "latent", "datatype": "FP32", "shape": [16, 64], "data": inputs["latent"].ravel().tolist()},
        {"name": "class", "datatype": "INT64", "shape": [16], "data": inputs["class"].tolist()},
    ]
    with Server(checkout.folder / "var/models") as server:
        answer = server.client.post(f"/v2/models/{NAME}/infer", json={"inputs": tensors}).json()
        drawn = server.client.get("/generate/image?class=7&seed=1")
        refused = server.client.get("/predict")
    images = np.reshape(answer["outputs"][0]["data"], outputs.shape)
    assert np.abs(images - outputs.astype(int)).max() <= 1
    with Image.open(io.BytesIO(drawn.content)) as image:
        assert image.size == (28, 28)
    assert "does not classify images of 28x28" in refused.json()["error"]


def test_the_record_has_scores_and_pictures(checkout: Checkout) -> None:
    first, _ = sorted(
        json.loads(checkout.run("leaderboard", "--dataset", "digits_generation", "--json").stdout),
        key=lambda row: row["version"],
    )
    assert (first["metric"], first["version"], first["aliases"]) == ("frechet_distance", 1, ["champion"])
    found = {path.relative_to(path.parents[2]).as_posix() for path in checkout.folder.glob("var/mlflow/artifacts/**/*")}
    assert found >= PICTURES
    names = {name for (name,) in checkout.query("select distinct key from latest_metrics")}
    assert names >= {"test_frechet_distance", "test_agreement", "val_agreement", "generator_loss", "test_recall.7"}


def test_the_gate_compares_fold_by_fold(checkout: Checkout) -> None:
    ((run,),) = checkout.query("select run_id from model_versions where name = ? and version = 2", NAME)
    (kept,) = checkout.folder.glob(f"var/mlflow/artifacts/**/{run}/artifacts/gate/evidence.json")
    test = json.loads(kept.read_text())["champion"]["test"]
    assert test["name"] == "Wilcoxon signed-rank of folds"
    assert test["losses"] > test["wins"]
    assert test["wins"] + test["losses"] == 20
