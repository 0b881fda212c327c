"""Facts about a trained model that the documents of its bundle state, read from its run and its evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from mnistflow import tasks
from mnistflow.checkout import git
from mnistflow.evaluation.evaluate import Evaluation
from mnistflow.provenance.run_record import RunRecord
from mnistflow.registry import manifest, versions
from mnistflow.registry.manifest import Tensor
from mnistflow.tasks.intervals import Interval, wilson
from mnistflow.tasks.task import Task


@dataclass(frozen=True)
class Metric:
    """A metric on the test split.

    Attributes:
        part: of the test split, such as `class 3`; empty for all of it.
        interval: 95 % confidence interval; None unless the metric is a share of correct predictions.
    """

    name: str
    value: float
    part: str = ""
    interval: Interval | None = None


@dataclass(frozen=True)
class Facts:
    """A model as its documents describe it.

    Attributes:
        name: registered name of the models that it is one of.
        family: of the model.
        data: what the data was; see `record.DATA`.
        environment: machine and libraries of the training, by name.
        parameters: of the run, by dotted key.
    """

    name: str
    family: str
    run_id: str
    commit: str
    command: str
    data: Mapping[str, Any]
    environment: Mapping[str, str]
    parameters: Mapping[str, str]
    evaluation: Evaluation

    @classmethod
    def of(cls, record: RunRecord, evaluation: Evaluation) -> Self:
        """Return the facts about the model of a recorded run.

        Raises:
            NotReproduced: the artifact store does not have the record.
        """
        parameters = record.logged.parameters
        return cls(
            name=versions.model_name(record.data["name"]),
            family=parameters["model.family"],
            run_id=record.run_id,
            commit=record.commit,
            command=record.command,
            data=record.data,
            environment=record.environment,
            parameters=parameters,
            evaluation=evaluation,
        )

    @property
    def task(self) -> Task:
        """What the model has learned."""
        return tasks.get(self.data["task"])

    @property
    def is_committed(self) -> bool:
        """Whether the commit has all the sources."""
        return git.has_all_sources(self.commit)

    @property
    def tensors(self) -> dict[str, tuple[Tensor, ...]]:
        """Its `inputs` and `outputs`."""
        return manifest.tensors(self.task.signature(tuple(self.data["input_shape"]), tuple(self.data["classes"])))

    def metrics(self) -> Iterator[Metric]:
        """Yield the metrics on the test split: those of all of it, then recall by class, then under corruptions."""
        evaluation = self.evaluation
        rows = self.data["splits"]["test"]["examples"]
        for name, value in evaluation.metrics.items():
            is_share = name == self.task.headline.name and self.task.headline.is_share
            yield Metric(name, value, interval=wilson(int(evaluation.metrics["errors"]), rows) if is_share else None)
        for name, recall in evaluation.by_class.items():
            examples = evaluation.support[name]
            interval = wilson(round((1 - recall) * examples), examples)
            yield Metric("recall", recall, f"class {name}", interval)
        for name, value in evaluation.robustness.items():
            yield Metric(name, value)

    def golden(self) -> Iterator[Metric]:
        """Yield the headline metric on the golden set and the number of its examples; nothing without one."""
        headline, golden = self.task.headline, self.evaluation.golden
        for name, value in golden.items():
            rows = int(golden["golden_examples"])
            is_share = name == f"golden_{headline.name}" and headline.is_share
            yield Metric(name, value, interval=wilson(round((1 - value) * rows), rows) if is_share else None)
