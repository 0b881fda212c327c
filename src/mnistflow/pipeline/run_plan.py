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
from mnistflow.checkout import digests
from mnistflow.config import Config
from mnistflow.data import catalog, fetch, prepare
from mnistflow.learners.config import LearningConfig
from mnistflow.paths import Paths
from mnistflow.pipeline import run_names
from mnistflow.tracking import runs


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
        tags: of the run in MLflow: its note, the command that repeats it, whether it registers the model, and those of
            `run_names.tags_of`.
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
        name=options.name or run_names.title(base, overrides),
        requested_dataset=config.fetch.dataset,
        overrides=overrides,
        pinned=pinned,
        config=config.with_values(pinned),
        options=options,
        tags={
            runs.COMMAND: command({**overrides, **pinned}),
            **({runs.NOTE: options.note} if options.note else {}),
            **({runs.REGISTERS: "true"} if options.register else {}),
            **run_names.tags_of(base, config, overrides),
        },
        warnings=fetch.warnings(config.fetch, paths),
    )


def inputs_digest(paths: Paths, base: Config, overrides: Mapping[str, Any]) -> str:
    """Return a digest of all that a run would depend on if it began now: data, code and parameters.

    Raises:
        MnistflowError: as `resolve`.
    """
    plan = resolve(paths, base, overrides, RunOptions())
    return digests.digest(digests.code_digest(), plan.config.model_dump(mode="json"))


def command(values: Mapping[str, Any]) -> str:
    """Return the command that repeats a run with these parameters, by dotted key."""
    command = ["mnistflow", "retrain"]
    for key, value in values.items():
        command += ["-S", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(command)


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
