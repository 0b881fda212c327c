"""Plan of a run: its parameters, with every external input resolved to a fixed value before the run starts.

External inputs are the data set that a mirror gives, the state of a user's own images, the newest feedback, the golden
set, the members of an ensemble, the teacher of a distillation, and the version that a warm start continues from.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mnistflow import learners, tasks
from mnistflow.checkout import lineage
from mnistflow.config import Config
from mnistflow.data import catalog, fetch, prepare
from mnistflow.learners.config import LearningConfig
from mnistflow.paths import Paths
from mnistflow.tracking import runs

MAX_NAME_LENGTH = 100
# What stages of dvc.yaml read of params.yaml.
SHAPING = ("fetch.dataset", "prepare.", "model.", "tune.", "train.", "export.", "evaluate.")


@dataclass(frozen=True)
class RunOptions:
    """What a run is called, where it is recorded, and whether its model is registered.

    Attributes:
        name: of the run in MLflow; None for one that states the parameters.
        note: the run's description in MLflow, in Markdown.
        register: whether the model is registered, compared and published; otherwise it is only evaluated and recorded.
        experiment: of MLflow; None for the one of the data set.
    """

    name: str | None = None
    note: str | None = None
    register: bool = True
    experiment: str | None = None

    @property
    def must_record_run(self) -> bool:
        """Whether the run is recorded even if all stages are unchanged and the model is registered already."""
        return self != RunOptions()


@dataclass(frozen=True)
class RunPlan:
    """Parameters of a run, ready to be executed.

    Attributes:
        name: of the run in MLflow: as chosen, or the family, the preset, and what else was overridden.
        requested_dataset: the configured data set; the run's own differs from it after a fallback.
        overrides: parameters that the user changed, by dotted key.
        pinned: parameters that resolve external inputs, by dotted key.
        config: params.yaml with both in place.
        options: what else the user has chosen for this run.
        tags: of the run in MLflow: its note, the command that repeats it, and those of `tags_of`.
        warnings: what of a user's own images is not used, a line each.
    """

    name: str
    requested_dataset: str
    overrides: Mapping[str, Any]
    pinned: Mapping[str, Any]
    config: Config
    options: RunOptions = RunOptions()
    tags: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def dataset(self) -> str:
        """Data set of the run."""
        return self.config.fetch.dataset

    @property
    def experiment(self) -> str:
        """Experiment of MLflow that the run is logged to."""
        return self.options.experiment or self.dataset

    @property
    def is_fallback(self) -> bool:
        """Whether the run is about another data set than the configured one."""
        return self.dataset != self.requested_dataset

    @property
    def values(self) -> dict[str, Any]:
        """All parameters that differ from params.yaml, by dotted key."""
        return {**self.overrides, **self.pinned}


def resolve(paths: Paths, base: Config, overrides: Mapping[str, Any], options: RunOptions) -> RunPlan:
    """Resolve the external inputs of a run.

    Args:
        base: params.yaml.
        overrides: parameters for this run only, by dotted key.
        options: what else the user has chosen for this run.

    Raises:
        ConfigError: an override is not valid, or the family cannot learn from the data.
        MirrorsExhausted: no mirror has the data set, and no fallback is configured.
        MnistflowError: another external input is missing.
    """
    config = base.with_values(overrides)
    pinned: dict[str, Any] = fetch.pin(config.fetch, paths)
    dataset = pinned.get("fetch.dataset", config.fetch.dataset)
    pinned |= prepare.pin(config.prepare, paths, dataset) | pin_models(config, dataset)
    return RunPlan(
        name=options.name or title(base, overrides),
        requested_dataset=config.fetch.dataset,
        overrides=overrides,
        pinned=pinned,
        config=config.with_values(pinned),
        options=options,
        tags={
            runs.COMMAND: _command({**overrides, **pinned}),
            **({runs.NOTE: options.note} if options.note else {}),
            **tags_of(base, config, overrides),
        },
        warnings=fetch.warnings(config.fetch, paths),
    )


def inputs_digest(paths: Paths, base: Config, overrides: Mapping[str, Any]) -> str:
    """Return a digest of all that a run would depend on if it began now: data, code and parameters.

    Raises:
        MnistflowError: as `resolve`.
    """
    plan = resolve(paths, base, overrides, RunOptions())
    return lineage.digest(lineage.code_digest(), plan.config.model_dump(mode="json"))


def _command(values: Mapping[str, Any]) -> str:
    """Return the command that repeats a run with these parameters, by dotted key."""
    command = ["mnistflow", "retrain"]
    for key, value in values.items():
        command += ["-S", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(command)


def title(base: Config, overrides: Mapping[str, Any]) -> str:
    """Return the name of a run: the family, the preset, and what else is overridden.

    Args:
        base: params.yaml.
        overrides: by dotted key.

    Raises:
        ConfigError: an override is not valid.
    """
    return _title(base, base.with_values(overrides), overrides)


def title_against(base: Config, config: Config) -> str:
    """Return the name of a run whose parameters are all in its params.yaml: `cnn seed=1`.

    Args:
        base: the parameters that it is an experiment with, such as those of the last commit.
    """
    return _title(base, config, differences(base, config))


def differences(base: Config, config: Config) -> dict[str, Any]:
    """Return the values, by dotted key, that stages of dvc.yaml read and that are others than in `base`."""
    old = base.entries()
    shaping = {key: value for key, value in config.entries().items() if key.startswith(SHAPING)}
    return {key: value for key, value in shaping.items() if not isinstance(value, dict) and value != old.get(key)}


def _title(base: Config, config: Config, overrides: Mapping[str, Any]) -> str:
    family, description = config.model.family, describe(base, config, overrides)
    # A preset may have the name of its family.
    title = description if description.split(" ")[0] == family else f"{family} {description}".strip()
    return title[:MAX_NAME_LENGTH]


def check_family(config: LearningConfig, dataset: str) -> None:
    """Check that the chosen family can learn from a data set, before there is any data.

    Raises:
        ConfigError: it cannot, or a package that it needs is not installed.
    """
    entry = catalog.described(dataset, ())
    config.model.require_compatible(tasks.get(entry.task), entry.input_shape)
    learners.for_family(config.model.chosen).require(config.model.chosen, config.train)


def pin_models(config: LearningConfig, dataset: str) -> dict[str, Any]:
    """Return the parameters, by dotted key, that fix the registered models that a training uses.

    Raises:
        ConfigError: the family cannot learn from such data.
        MnistflowError: one of the models is missing.
    """
    check_family(config, dataset)
    return learners.for_family(config.model.chosen).pin(config, dataset)


def describe(base: Config, config: Config, overrides: Mapping[str, Any]) -> str:
    """Return the preset if the overrides contain one, and the other overrides in their order: `fast epochs=1`.

    Args:
        base: params.yaml.
        config: the same with the overrides in place.
        overrides: by dotted key.
    """
    preset, reference = _reference(base, config, overrides)
    return " ".join([*([preset] if preset else []), *_changes(reference, config, overrides)])


def tags_of(base: Config, config: Config, overrides: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags that state how a run differs from params.yaml, which may change later.

    They name the preset, all overrides including its own, and the number of epochs that the preset or params.yaml asks
    for, if the run has fewer.

    Args:
        base: params.yaml.
        config: the same with the overrides in place.
        overrides: by dotted key.
    """
    preset, reference = _reference(base, config, overrides)
    old, new = base.entries(), config.entries()
    changed = {key: [old.get(key), new[key]] for key in _changed_keys(base, config, overrides)}
    learner = learners.for_family(config.model.chosen)
    full_epochs = learner.max_epochs(reference.train)
    return {
        runs.OVERRIDES: json.dumps(changed, default=str),
        **({runs.PRESET: preset} if preset else {}),
        **({runs.FULL_EPOCHS: str(full_epochs)} if full_epochs > learner.max_epochs(config.train) else {}),
    }


def _reference(base: Config, config: Config, overrides: Mapping[str, Any]) -> tuple[str | None, Config]:
    """Return the preset that needs the fewest other overrides, with its parameters; None and params.yaml for none."""
    candidates: list[tuple[str | None, Config]] = [
        (name, base.with_values(values))
        for name, values in base.presets.items()
        if values and values.keys() <= overrides.keys()
    ]
    candidates.append((None, base))
    return min(candidates, key=lambda one: bool(one[0]) + len(_changes(one[1], config, overrides)))


def _changes(before: Config, after: Config, overrides: Mapping[str, Any]) -> list[str]:
    """Return what the overrides changed, one entry a value, without the sections `model` and `train` in its name."""
    new = after.entries()
    keys = _changed_keys(before, after, overrides)
    return [f"{_short(key)}={new[key]}" for key in keys if key != "model.family"]


def _changed_keys(before: Config, after: Config, overrides: Mapping[str, Any]) -> list[str]:
    """Return the dotted keys of single values that the overrides changed, in the order of the overrides."""
    old, new = before.entries(), after.entries()
    changed = [key for key, value in new.items() if not isinstance(value, dict) and value != old.get(key)]
    return list(dict.fromkeys(key for override in overrides for key in changed if f"{key}.".startswith(f"{override}.")))


def _short(key: str) -> str:
    return key.rpartition(".")[2] if key.startswith(("model.", "train.")) else key
