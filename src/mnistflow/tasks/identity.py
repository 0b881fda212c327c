"""Identity of a task: its name, what its models are called, and the metric that ranks them.

Apart from `task`, because commands that only read the registry need neither numpy nor the tasks' computations.
"""

from __future__ import annotations

from dataclasses import dataclass

from mnistflow.errors import ConfigError


@dataclass(frozen=True)
class Headline:
    """The metric that ranks the models of a task; never negative.

    Attributes:
        name: key of `Measurement.metrics`, and of what Keras measures after each epoch. The gate's limit is
            `gate.min_<name>`, or `gate.max_<name>` where smaller is better.
        larger_is_better: the direction of the ranking.
        is_share: whether it is a share of right predictions, shown as a percentage.
    """

    name: str
    larger_is_better: bool = True
    is_share: bool = False

    def is_better(self, value: float, other: float) -> bool:
        """Return whether one value ranks above another."""
        return value > other if self.larger_is_better else value < other

    def place(self, value: float) -> float:
        """Return a key to sort by, best first."""
        return -value if self.larger_is_better else value

    def shown(self, value: float) -> str:
        """Return the formatted value: `99.31%`, or `0.00262`."""
        return f"{value:.2%}" if self.is_share else f"{value:.3g}"

    def said(self, value: float) -> str:
        """Return the metric's name with the formatted value: `test accuracy 99.31%`."""
        return f"test {self.name} {self.shown(value)}"


@dataclass(frozen=True)
class Identity:
    """How a task is named.

    Attributes:
        name: of the task, as `Entry.task` has it.
        product: what its models are: they are registered as `<dataset>-<product>`.
        headline: the metric that ranks its models.
    """

    name: str
    product: str
    headline: Headline


IMAGE_CLASSIFICATION = Identity("image_classification", "classifier", Headline("accuracy", is_share=True))
BINARY_CLASSIFICATION = Identity("binary_classification", "classifier", Headline("accuracy", is_share=True))
FORECASTING = Identity("forecasting", "forecaster", Headline("mse", larger_is_better=False))
ALL = {identity.name: identity for identity in (IMAGE_CLASSIFICATION, BINARY_CLASSIFICATION, FORECASTING)}


def get(name: str) -> Identity:
    """Return the identity of the task of that name.

    Raises:
        ConfigError: there is no such task.
    """
    if name not in ALL:
        raise ConfigError(f"unknown task {name!r}", f"Known: {', '.join(ALL)}.")
    return ALL[name]
