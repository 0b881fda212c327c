"""Form of the retrain flow: its schema offers what params.yaml allows, and its values become overrides."""

import jsonschema
import pytest

from flows import parameters
from flows.orchestration import deployments
from flows.retrain import retrain
from mnistflow import config
from mnistflow.errors import ConfigError
from mnistflow.models import families
from mnistflow.paths import Paths


@pytest.fixture(scope="module")
def base() -> config.Config:
    return config.load(Paths.locate().params)


@pytest.mark.parametrize(
    ("valid", "wrong"),
    [
        ({"preset": "fast"}, {"preset": "fats"}),
        ({"family": "cnn"}, {"family": "cmm"}),
        ({"dataset": "digits"}, {"dataset": "minst"}),
        ({"seed": 0}, {"seed": 2**31}),
        ({"epochs": 1}, {"epochs": 0}),
        ({"batch_size": 1}, {"batch_size": 1.5}),
        ({"learning_rate": 0.1}, {"learning_rate": 0}),
        ({"train_limit": 1}, {"train_limit": 0}),
        ({"trials": 0}, {"trials": -1}),
        ({"overrides": {"train.optimizer": "sgd"}}, {"overrides": "train.optimizer=sgd"}),
    ],
)
def test_the_schema_has_the_limits_of_params_yaml(valid: dict[str, object], wrong: dict[str, object]) -> None:
    schema = retrain.parameters.model_dump()
    jsonschema.validate(valid, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)


def test_the_form_of_a_deployment_has_choices_and_empty_fields(base: config.Config) -> None:
    fields = {name: deployments.form_field(field) for name, field in retrain.parameters.properties.items()}
    assert fields["preset"]["enum"] == list(base.presets)
    assert fields["family"]["enum"] == families()
    assert all(fields[name]["description"] for name in fields)
    assert [name for name, field in fields.items() if "default" in field or "anyOf" in field] == ["register_model"]


def test_fields_replace_values_of_the_preset(base: config.Config) -> None:
    chosen = {"preset": "fast", "epochs": 3, "seed": None, "overrides": {"train.patience": 1}, "name": "a try"}
    values = parameters.values(base, chosen)
    assert values == {**base.preset("fast"), "train.epochs": 3, "train.patience": 1}


def test_a_key_in_a_field_and_in_the_overrides(base: config.Config) -> None:
    with pytest.raises(ConfigError, match=r"train\.epochs: given twice"):
        parameters.values(base, {"epochs": 3, "overrides": {"train.epochs": 4}})
