"""Robustness: the headline metric of a model on corrupted inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mnistflow.arrays import Array, Outputs
from mnistflow.splits import Split
from mnistflow.tasks.corruptions import Corruption
from mnistflow.tasks.plots import figures, image_grids
from mnistflow.tasks.task import Task

SEED = 0


@dataclass(frozen=True)
class Robustness:
    """The headline metric on original examples, and on the same examples under each corruption.

    Attributes:
        headline: name of the metric.
        clean: metric on the original examples.
        scores: corruption -> metric at each severity.
        outputs: corruption -> the model's outputs at each severity, float32 `[n, *output_shape]`.
        targets: `[n]`, the same under all corruptions.
        examples: corruption -> the first example at each severity.
        rows: number of examples.
    """

    headline: str
    clean: float
    scores: Mapping[Corruption, tuple[float, ...]]
    outputs: Mapping[Corruption, tuple[Outputs, ...]]
    targets: Array
    examples: Mapping[Corruption, tuple[Array, ...]]
    rows: int

    @property
    def metrics(self) -> dict[str, float]:
        """Flat metrics: `robust_accuracy` (overall mean), `robust_accuracy.shift` (mean), `robust_accuracy.shift.1`.

        `robust_accuracy.held_out` is the mean over the corruptions that no augmentation resembles, and
        `robust_accuracy.augmented` that over all others.
        """
        if not self.scores:
            return {}
        name = f"robust_{self.headline}"
        by_kind = {kind.name: float(np.mean(scores)) for kind, scores in self.scores.items()}
        return {
            name: float(np.mean(list(by_kind.values()))),
            **self._group_means(name),
            **{f"{name}.{kind}": mean for kind, mean in by_kind.items()},
            **{
                f"{name}.{kind.name}.{severity}": score
                for kind, scores in self.scores.items()
                for severity, score in enumerate(scores, start=1)
            },
        }

    def _group_means(self, name: str) -> dict[str, float]:
        groups: dict[str, list[float]] = {}
        for kind, scores in self.scores.items():
            groups.setdefault("held_out" if kind.held_out else "augmented", []).append(float(np.mean(scores)))
        return {f"{name}.{group}": float(np.mean(means)) for group, means in groups.items()}


def measure(task: Task, predict: Callable[[Array], Outputs], test: Split, limit: int) -> Robustness:
    """Evaluate a model under all corruptions of a task.

    Args:
        task: defines the corruptions and the headline metric.
        predict: maps inputs `[n, *input_shape]` to outputs `[n, *output_shape]`.
        test: the test split.
        limit: number of test examples, the same for every model; 0 disables the evaluation.
    """
    order = np.random.default_rng(SEED).permutation(len(test))
    sample = test.take(np.sort(order[:limit]))
    kinds = task.corruptions() if limit else ()

    outputs, examples = {}, {}
    for kind in kinds:
        corrupted = [
            kind.apply(sample.inputs, step, np.random.default_rng((SEED, severity)))
            for severity, step in enumerate(kind.steps, start=1)
        ]
        outputs[kind] = tuple(predict(inputs) for inputs in corrupted)
        examples[kind] = tuple(inputs[0] for inputs in corrupted)
    return Robustness(
        headline=task.headline.name,
        clean=task.score(predict(sample.inputs), sample.targets) if kinds else float("nan"),
        scores={kind: tuple(task.score(one, sample.targets) for one in each) for kind, each in outputs.items()},
        outputs=outputs,
        targets=sample.targets,
        examples=examples,
        rows=len(sample),
    )


def draw(path: Path, robustness: Robustness) -> None:
    """Plot one example at each severity, with the metric over all examples."""
    if not robustness.scores:
        figures.note(path, "No corruptions evaluated")
        return
    columns = [
        (
            kind.name,
            [
                (kind.caption.format(step), score, example)
                for step, score, example in zip(kind.steps, scores, robustness.examples[kind], strict=True)
            ],
        )
        for kind, scores in robustness.scores.items()
    ]
    title = f"{robustness.headline} on {robustness.rows} test examples: {robustness.clean:.1%} without corruption"
    image_grids.robustness(path, columns, title)
