"""Configuration: params.yaml as one typed, frozen model, and overrides of it for one run."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, model_validator

from mnistflow import yaml_files
from mnistflow.data.config import FetchConfig, PrepareConfig
from mnistflow.errors import ConfigError, MissingKeys
from mnistflow.evaluation.config import EvaluateConfig
from mnistflow.export.config import ExportConfig
from mnistflow.learners.config import LearningConfig
from mnistflow.monitoring.config import MonitorConfig
from mnistflow.registry.gate.config import GateConfig
from mnistflow.retention import RetentionConfig
from mnistflow.schema import OVERRIDDEN
from mnistflow.tuning.config import TuneConfig


class Config(LearningConfig):
    """All of params.yaml."""

    fetch: FetchConfig
    prepare: PrepareConfig
    tune: TuneConfig
    export: ExportConfig
    evaluate: EvaluateConfig
    gate: GateConfig
    monitor: MonitorConfig
    gc: RetentionConfig
    presets: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _space_can_be_searched(self) -> Self:
        known = self.entries()
        for family, space in self.tune.space.items():
            for key, entry in space.items():
                place = f"tune.space.{family}.{key}"
                if not key.startswith((f"model.{family}.", "train.")) or key not in known:
                    raise ValueError(f"{place}: is not a key of model.{family} or train, so it cannot be searched")
                if key in self.tune.overrides:
                    value = self.tune.overrides[key]
                    raise ValueError(f"{place}: cannot be searched, because every trial sets it to {value}; see tune")
                self._check_values(key, entry.checked_values, place)
        return self

    def _check_values(self, key: str, values: Iterable[Any], origin: str) -> None:
        try:
            for value in values:
                self.converted(key, value, origin)
        except ConfigError as error:
            raise ValueError(error.problem) from error

    @model_validator(mode="after")
    def _has_examples_to_take(self) -> Self:
        if self.train.online and self.prepare.feedback is None:
            raise ValueError("train.online: needs prepare.feedback, the log that examples are taken from")
        return self

    @property
    def learning(self) -> LearningConfig:
        """The sections that shape a model: `model` and `train`."""
        return LearningConfig(model=self.model, train=self.train)

    def preset(self, name: str) -> Mapping[str, Any]:
        """Return a named set of overrides.

        Raises:
            ConfigError: there is no preset of that name.
        """
        if name not in self.presets:
            known = ", ".join(self.presets) or "none"
            raise ConfigError(f"unknown preset {name!r}", f"Known: {known}; params.yaml defines them.")
        return self.presets[name]


def load(path: Path) -> Config:
    """Read and check a params.yaml, its presets included.

    Raises:
        ConfigError: no such file, no YAML, or keys or values that are not valid; names each key and the reason.
    """
    try:
        config = Config.validated(yaml_files.read(path), str(path))
    except MissingKeys as error:
        # Mostly a file from before an update. Git is asked only here, because it takes longer than all else.
        from mnistflow.checkout import parameter_defaults

        raise ConfigError(error.problem, parameter_defaults.where_to_add(path, error.keys) or error.fix) from error
    for name, values in config.presets.items():
        try:
            config.with_values(values)
        except ConfigError as error:
            raise ConfigError(f"{path}: presets.{name}: {error.problem}", error.fix) from error
    return config


def parse_overrides(assignments: Iterable[str]) -> dict[str, Any]:
    """Turn `["train.epochs=5", "model.family=mlp"]` into a mapping; values are read as YAML.

    Raises:
        ConfigError: an assignment has no `=` or no valid value.
    """
    values = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(
                f"override {assignment!r} is not of the form key=value", "Write for example -S train.epochs=5."
            )
        try:
            values[key.strip()] = yaml_files.parse(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"override {assignment!r}: the value is not valid YAML", "Quote it.") from error
    return values


def write_with_overrides(source: Path, target: Path, values: Mapping[str, Any]) -> Config:
    """Write `source` with dotted keys replaced to `target`, checked; without overrides the bytes are the same.

    Raises:
        ConfigError: as `load`; nothing is written then.
    """
    tree = yaml_files.read(source)
    Config.validated(tree, str(source))
    tree = Config.tree_with_values(tree, values)
    config = Config.validated(tree, OVERRIDDEN)
    target.write_text(yaml.safe_dump(tree, sort_keys=False) if values else source.read_text(encoding="utf-8"))
    return config
