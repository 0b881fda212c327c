"""Finished runs side by side: how good, how large, how fast, and which of them no other beats in all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnistflow import files
from mnistflow.evaluate import Evaluation
from mnistflow.project import Project
from mnistflow.tasks import pictures
from mnistflow.tasks.task import Headline

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Contender:
    """A run as it is compared.

    Attributes:
        score: the task's headline metric on the test split.
        interval: of the score, 95 %; None when the score is no share of right predictions.
        errors: wrong predictions; None when predictions are not right or wrong.
        robust_score: mean of the headline metric under corruptions; None when not measured.
        latency_ms: of one input in onnxruntime on one thread, median.
        epochs: until training stopped.
        best_epoch: whose weights are kept.
    """

    name: str
    run_id: str
    score: float
    interval: tuple[float, float] | None
    errors: int | None
    robust_score: float | None
    parameters: int
    file_megabytes: float
    latency_ms: float | None
    train_seconds: float
    epochs: int
    best_epoch: int

    @classmethod
    def of(cls, workspace: Project, evaluation: Evaluation, headline: str, run_id: str) -> Contender:
        """Describe the finished pipeline of a workspace."""
        training = files.read_json(workspace.trained / "training.json")
        rows = files.read_json(workspace.prepared / "dataset.json")["counts"]["test"]
        errors = evaluation.metrics.get("errors")
        return cls(
            name=training["family"],
            run_id=run_id,
            score=evaluation.metrics[headline],
            interval=None if errors is None else wilson(int(errors), rows),
            errors=None if errors is None else int(errors),
            robust_score=evaluation.robustness.get(f"robust_{headline}"),
            parameters=training["parameters"],
            file_megabytes=evaluation.file_bytes / 1e6,
            latency_ms=evaluation.speed.get("latency_ms_batch_1"),
            train_seconds=training["seconds"],
            epochs=training["epochs"],
            best_epoch=training["best_epoch"],
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Contender:
        """Return what `dataclasses.asdict` and JSON made of a contender."""
        interval = value["interval"]
        return cls(**{**value, "interval": None if interval is None else (interval[0], interval[1])})


def wilson(errors: int, rows: int) -> tuple[float, float]:
    """Return the 95 % interval of the share of right predictions (Wilson 1927): sound also near 100 %."""
    from scipy.stats import binomtest

    interval = binomtest(rows - errors, rows).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def undominated(contenders: Sequence[Contender], costs: Mapping[str, float], headline: Headline) -> list[Contender]:
    """Return, cheapest first, the contenders that score better than each that costs no more.

    Args:
        costs: of contenders, by name; who has none is left out.
    """
    front: list[Contender] = []
    known = [contender for contender in contenders if contender.name in costs]
    for contender in sorted(known, key=lambda contender: (costs[contender.name], headline.place(contender.score))):
        if not front or headline.is_better(contender.score, front[-1].score):
            front.append(contender)
    return front


def draw(path: Path, contenders: Sequence[Contender], headline: Headline) -> None:
    """Draw score against latency and against file size, with the Pareto front of each."""
    latencies = {one.name: one.latency_ms for one in contenders if one.latency_ms is not None}
    sizes = {one.name: one.file_megabytes for one in contenders}
    panels = [
        (label, costs, [one.name for one in undominated(contenders, costs, headline)])
        for label, costs in (("ms for one input, one thread", latencies), ("MB of the ONNX file", sizes))
    ]
    pictures.pareto(path, {one.name: (one.score, one.interval) for one in contenders}, panels, headline.name)
