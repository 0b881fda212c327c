"""Comparison of finished runs: quality, size and speed of each family, and the Pareto front of quality and cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from mnistflow import files, metric_names
from mnistflow.analysis import pareto
from mnistflow.evaluation.evaluate import Evaluation
from mnistflow.paths import Paths
from mnistflow.tasks.identity import Headline
from mnistflow.tasks.intervals import wilson
from mnistflow.tasks.plots import charts


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Quality and cost of a model.

    Attributes:
        score: the task's headline metric on the test split.
        interval: 95 % confidence interval of the score; None when the score is not a share of right predictions.
        errors: number of wrong predictions; None for tasks without right and wrong predictions.
        robust_score: mean of the headline metric under corruptions; None when not measured.
        latency_ms: median time of one input in onnxruntime on one thread, in milliseconds.
        epochs: number of epochs until training stopped.
        best_epoch: epoch whose weights are kept.
    """

    score: float
    interval: tuple[float, float] | None
    errors: float | None
    robust_score: float | None
    parameters: float
    file_megabytes: float
    latency_ms: float | None
    train_seconds: float
    epochs: float
    best_epoch: float


@dataclass(frozen=True, kw_only=True)
class Result(Figures):
    """Figures of one finished run.

    Attributes:
        seed: of its training.
    """

    family: str
    seed: int
    run_id: str

    @classmethod
    def of(cls, workspace: Paths, evaluation: Evaluation, headline: str, run_id: str) -> Result:
        """Describe the finished pipeline of a workspace."""
        training = files.read_json(workspace.trained / "training.json")
        rows = files.read_json(workspace.prepared / "dataset.json")["counts"]["test"]
        errors = evaluation.metrics.get("errors")
        return cls(
            family=training["family"],
            seed=training["settings"]["train.seed"],
            run_id=run_id,
            score=evaluation.metrics[headline],
            interval=None if errors is None else wilson(int(errors), rows),
            errors=None if errors is None else int(errors),
            robust_score=evaluation.robustness.get(f"robust_{headline}"),
            parameters=training["parameters"],
            file_megabytes=evaluation.file_bytes / 1e6,
            latency_ms=evaluation.speed.get(metric_names.LATENCY_MS),
            train_seconds=training["seconds"],
            epochs=training["epochs"],
            best_epoch=training["best_epoch"],
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Result:
        """Return the result that `dataclasses.asdict` and JSON have serialised."""
        interval = value["interval"]
        return cls(**{**value, "interval": None if interval is None else (interval[0], interval[1])})


@dataclass(frozen=True, kw_only=True)
class FamilySummary(Figures):
    """Summary of a family's results: mean quality and median costs.

    The mean interval shows how far another test split may move the score, the spread how far another seed may.

    Attributes:
        spread: sample standard deviation of the scores; None for a single one.
        results: one a seed.
    """

    name: str
    spread: float | None
    results: tuple[Result, ...]

    @classmethod
    def of(cls, name: str, results: Sequence[Result]) -> FamilySummary:
        """Summarise the results of a family, of which there is at least one."""
        scores = [one.score for one in results]
        intervals = [one.interval for one in results if one.interval]
        return cls(
            name=name,
            results=tuple(results),
            score=mean(scores),
            spread=stdev(scores) if len(scores) > 1 else None,
            interval=(mean(low for low, _ in intervals), mean(high for _, high in intervals)) if intervals else None,
            errors=_of_known(mean, (one.errors for one in results)),
            robust_score=_of_known(mean, (one.robust_score for one in results)),
            parameters=median(one.parameters for one in results),
            file_megabytes=median(one.file_megabytes for one in results),
            latency_ms=_of_known(median, (one.latency_ms for one in results)),
            train_seconds=median(one.train_seconds for one in results),
            epochs=median(one.epochs for one in results),
            best_epoch=median(one.best_epoch for one in results),
        )

    def logged(self, headline: str) -> dict[str, float]:
        """Return flat metrics for MLflow, by the names that they have in the run of a result."""
        metrics = {
            f"test_{headline}": self.score,
            f"test_{headline}.spread": self.spread,
            f"test_{headline}.n": len(self.results),
            f"test_robust_{headline}": self.robust_score,
            metric_names.PARAMETERS: self.parameters,
            metric_names.FILE_MEGABYTES: self.file_megabytes,
            metric_names.LATENCY_MS: self.latency_ms,
            metric_names.TRAIN_SECONDS: self.train_seconds,
            metric_names.EPOCHS: self.epochs,
        }
        return {name: value for name, value in metrics.items() if value is not None}


def _of_known(statistic: Callable[[Sequence[float]], float], values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistic(known) if known else None


def rank(results: Iterable[Result], headline: Headline) -> tuple[FamilySummary, ...]:
    """Return the families that the results are of, best first."""
    of_family: dict[str, list[Result]] = {}
    for result in results:
        of_family.setdefault(result.family, []).append(result)
    summaries = [FamilySummary.of(name, family_results) for name, family_results in of_family.items()]
    return tuple(sorted(summaries, key=lambda one: (headline.sort_key(one.score), one.parameters)))


def undominated(
    families: Sequence[FamilySummary], costs: Mapping[str, float], headline: Headline
) -> list[FamilySummary]:
    """Return the Pareto front of score and cost, cheapest first.

    Args:
        costs: of families, by name; families without one are left out.
    """
    known = {family.name: family for family in families if family.name in costs}
    merits = {name: (-headline.sort_key(family.score), -costs[name]) for name, family in known.items()}
    return sorted((known[name] for name in pareto.front(merits)), key=lambda family: (costs[family.name], family.name))


def draw(path: Path, families: Sequence[FamilySummary], headline: Headline) -> None:
    """Draw score against latency and against file size, with the Pareto front of each."""
    latencies = {one.name: one.latency_ms for one in families if one.latency_ms is not None}
    sizes = {one.name: one.file_megabytes for one in families}
    panels = [
        (label, costs, [one.name for one in undominated(families, costs, headline)])
        for label, costs in (("ms for one input, one thread", latencies), ("MB of the ONNX file", sizes))
    ]
    charts.pareto(path, {one.name: (one.score, one.interval) for one in families}, panels, headline.name)
