"""Bundle of a registered version: its documents, checked against the schemas of those who defined them."""

import json
from pathlib import Path

import mlcroissant
import pytest
from checkouts import Checkout
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("retrained")]


@pytest.fixture
def published(retrained: Checkout) -> Path:
    return retrained.folder / "var/models/digits-classifier/1"


def test_the_documents_are_artifacts_and_published(retrained: Checkout, published: Path) -> None:
    ((run_id,),) = retrained.query("select run_id from model_versions where version = 1")
    logged = next((retrained.folder / "var/mlflow/artifacts").glob(f"**/{run_id}/artifacts/bundle"))
    for name in ("model-card.md", "croissant.json", "bom.json"):
        assert (logged / name).read_bytes() == (published / name).read_bytes()


def test_the_model_card_states_figures_with_intervals(published: Path) -> None:
    card = (published / "model-card.md").read_text()
    manifest = json.loads((published / "model.json").read_text())
    (accuracy,) = [line for line in card.splitlines() if line.startswith("| accuracy |")]
    _, _, value, interval, _ = (cell.strip() for cell in accuracy.split("|"))
    low, high = map(float, interval.split(" to "))
    assert low < float(value) < high
    assert float(value) == pytest.approx(manifest["metrics"]["accuracy"], abs=1e-4)
    assert "| recall, class 3 |" in card
    assert "| robust accuracy |" in card
    assert f"mnistflow reproduce {manifest['run_id']}" in card
    assert manifest["sha256"] in card


def test_the_description_of_the_data_is_croissant(published: Path) -> None:
    manifest = json.loads((published / "model.json").read_text())
    described = mlcroissant.Dataset(jsonld=json.loads((published / "croissant.json").read_text()))
    assert described.metadata.name == "digits"
    assert described.metadata.version == manifest["data_sha256"]
    assert len(described.metadata.distribution) == 4
    assert {file.sha256 is not None for file in described.metadata.distribution} == {True}
    splits = {record["splits/name"]: record["splits/examples"] for record in described.records("splits")}
    assert {str(name): count for name, count in splits.items()} == {"train": 1293, "validation": 144, "test": 360}


def test_the_bill_of_materials_is_cyclonedx(published: Path) -> None:
    text = (published / "bom.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    model = bom["metadata"]["component"]
    manifest = json.loads((published / "model.json").read_text())
    assert model["hashes"] == [{"alg": "SHA-256", "content": manifest["sha256"]}]
    assert {"keras", "tensorflow", "numpy"} <= {component["name"] for component in bom["components"]}
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    (accuracy,) = [one for one in metrics if one["type"] == "accuracy"]
    assert float(accuracy["value"]) == manifest["metrics"]["accuracy"]
    assert set(accuracy["confidenceInterval"]) == {"lowerBound", "upperBound"}
