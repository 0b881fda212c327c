"""Parameters of the retrain flow, for the form that Prefect shows: choices, and the limits of params.yaml.

Prefect derives a JSON schema from a flow's signature, draws the form "Custom run" of a deployment from it, and checks
what is submitted. The schemas of the fields here are those of the keys of params.yaml that they stand for.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

from mnistflow import yaml_files
from mnistflow.config import Config
from mnistflow.data import catalog
from mnistflow.errors import ConfigError
from mnistflow.models import families
from mnistflow.paths import Paths

KEYS = {
    "dataset": "fetch.dataset",
    "family": "model.family",
    "seed": "train.seed",
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "learning_rate": "train.learning_rate",
    "train_limit": "prepare.train_limit",
    "trials": "tune.trials",
}
NULL = {"type": "null"}


@dataclass(frozen=True)
class FormField:
    """Metadata of an optional parameter, for its JSON schema.

    Attributes:
        name: one of `KEYS`, if the limits are those of a key of params.yaml.
        choices: returns the values to choose from; nothing means any.
    """

    name: str | None = None
    choices: Callable[[], Sequence[str]] | None = None

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema of a value, or of null."""
        schema = _schema_of_key(KEYS[self.name]) if self.name else handler(core)
        # An empty field means a constant such as `auto` already.
        (value,) = [kind for kind in schema.get("anyOf", [schema]) if kind != NULL and "const" not in kind]
        choices = self.choices() if self.choices else []
        return {"anyOf": [{**value, "enum": list(choices)} if choices else value, NULL]}


def _schema_of_key(key: str) -> dict[str, Any]:
    """Return the JSON schema of a key of params.yaml, without a default."""
    section, name = key.split(".")
    schema = _schema()
    definition = schema["properties"][section]["$ref"].rpartition("/")[2]
    field: dict[str, Any] = {**schema["$defs"][definition]["properties"][name]}
    field.pop("default", None)
    return field


@functools.cache
def _schema() -> dict[str, Any]:
    return Config.model_json_schema()


def _presets() -> Sequence[str]:
    """Return the names of the presets of this checkout; none if it has no valid params.yaml, which the run reports."""
    return list(_section("presets"))


def _datasets() -> Sequence[str]:
    own = _section("fetch").get("own")
    return [*catalog.entries(), *(own if isinstance(own, dict) else ())]


def _section(name: str) -> Mapping[str, Any]:
    try:
        tree = yaml_files.read(Paths.locate().params)
    except ConfigError:
        return {}
    section = tree.get(name) if isinstance(tree, dict) else None
    return section if isinstance(section, dict) else {}


Preset = Annotated[str | None, FormField(choices=_presets)]
Dataset = Annotated[str | None, FormField("dataset", _datasets)]
Family = Annotated[str | None, FormField("family", families)]
Seed = Annotated[int | None, FormField("seed")]
Epochs = Annotated[int | None, FormField("epochs")]
BatchSize = Annotated[int | None, FormField("batch_size")]
LearningRate = Annotated[float | None, FormField("learning_rate")]
TrainLimit = Annotated[int | None, FormField("train_limit")]
Trials = Annotated[int | None, FormField("trials")]
Overrides = Annotated[dict[str, Any] | None, FormField()]
Text = Annotated[str | None, FormField()]


def values(base: Config, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values by dotted key that parameters of the flow stand for: the preset's, replaced by the others.

    Args:
        base: params.yaml.
        parameters: by the names of the flow's parameters; other ones than `preset`, `overrides` and `KEYS` are ignored.

    Raises:
        ConfigError: there is no such preset, or a key is given twice.
    """
    preset = parameters.get("preset")
    overrides = parameters.get("overrides") or {}
    fields = {key: parameters[name] for name, key in KEYS.items() if parameters.get(name) is not None}
    if twice := sorted(fields.keys() & overrides.keys()):
        raise ConfigError(f"{', '.join(twice)}: given twice", "Leave it out of the overrides.")
    return {**(base.preset(preset) if preset else {}), **fields, **overrides}
