"""What the pipeline writes into model.json is valid against the schema."""

import dataclasses
import json
from typing import Any

import pytest
from checkouts import ROOT
from jsonschema import Draft202012Validator

from mnistflow import tasks
from mnistflow.data import catalog
from mnistflow.registry import manifest
from mnistflow.registry.manifest import Manifest
from mnistflow.tasks.doubt import Doubt

SCHEMA = json.loads((ROOT / "schemas/model.schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


def facts(dataset: str) -> Manifest:
    entry = catalog.described(dataset, ("a", "b"))
    return Manifest(
        name=f"{dataset}-classifier",
        task=entry.task,
        dataset=dataset,
        classes=entry.classes,
        **manifest.tensors(tasks.get(entry.task).signature(entry.input_shape, entry.classes)),
        preprocessing=entry.preprocessing,
        sha256="0" * 64,
        data_sha256="1" * 64,
        metrics={"accuracy": 0.5, "loss": 1.0},
        run_id="f" * 32,
        git_commit="unknown",
        created="2026-01-01T00:00:00+00:00",
        mnistflow_version="1.0",
        doubt=Doubt(coverage=0.99, set_threshold=0.01, false_refusals=0.01, refusal_threshold=0.5),
    )


def published(model_json: Any) -> Any:
    """Return the content of the model.json of version 3, as servers read it."""
    return json.loads(json.dumps(manifest.to_publish({**model_json, "version": 3}, "2" * 64)))


@pytest.mark.parametrize("dataset", [*catalog.entries(), "letters"])
def test_the_manifest_of_every_data_set_is_valid_and_complete(dataset: str) -> None:
    tree = published(facts(dataset).to_json())
    VALIDATOR.validate(tree)
    assert tree.keys() == SCHEMA["properties"].keys()
    assert (tree["version"], tree["sha256"]) == (3, "2" * 64)


def test_a_model_without_class_probabilities_has_no_thresholds() -> None:
    tree = published(dataclasses.replace(facts("sine"), doubt=None).to_json())
    VALIDATOR.validate(tree)
    assert "doubt" not in tree


@pytest.mark.parametrize("dataset", [*catalog.entries(), "letters"])
def test_pictures_are_preprocessed_as_servers_did_before_the_field_existed(dataset: str) -> None:
    assert facts(dataset).preprocessing == (
        "digit" if dataset.removesuffix("_generation") in ("mnist", "digits") else "plain"
    )


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
def test_a_version_registered_before_the_schema_is_published_with_its_new_fields(dataset: str) -> None:
    old = {key: value for key, value in facts(dataset).to_json().items() if key != "schema_version"}
    del old["preprocessing"]
    assert published(old) == published(facts(dataset).to_json())
