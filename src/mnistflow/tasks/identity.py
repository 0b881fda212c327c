"""Identity of a task: its name, the kind of its models, and the metric that ranks them.

Separate from `task`, because commands that only read the registry need neither NumPy nor the tasks' computations.
"""

from __future__ import annotations

from dataclasses import dataclass

from mnistflow.errors import ConfigError


@dataclass(frozen=True)
class Headline:
    """The metric that ranks the models of a task. Its values are not negative.

    Attributes:
        name: key in `Measurement.metrics` and in the history of a training. The gate's limit is `gate.min_<name>`, or
            `gate.max_<name>` if smaller is better.
        larger_is_better: direction of the ranking.
        is_share: whether it is a share of correct predictions, which is shown as a percentage.
    """

    name: str
    larger_is_better: bool = True
    is_share: bool = False

    def is_better(self, value: float, other: float) -> bool:
        """Return whether one value ranks above another."""
        return value > other if self.larger_is_better else value < other

    def sort_key(self, value: float) -> float:
        """Return a key that sorts values from best to worst."""
        return -value if self.larger_is_better else value

    def format(self, value: float) -> str:
        """Return the value as text: `99.31%` or `0.00262`."""
        return f"{value:.2%}" if self.is_share else f"{value:.3g}"

    def describe(self, value: float) -> str:
        """Return name and value as text: `test accuracy 99.31%`."""
        return f"test {self.name} {self.format(value)}"


@dataclass(frozen=True)
class Identity:
    """Name and headline metric of a task.

    Attributes:
        name: as in `Entry.task`.
        product: kind of its models, which are registered as `<dataset>-<product>`.
        headline: the metric that ranks its models.
    """

    name: str
    product: str
    headline: Headline

    def model_name(self, source: str) -> str:
        """Return the registered name of the models of a source of data: `mnist-classifier`."""
        return f"{source}-{self.product}"


IMAGE_CLASSIFICATION = Identity("image_classification", "classifier", Headline("accuracy", is_share=True))
BINARY_CLASSIFICATION = Identity("binary_classification", "classifier", Headline("accuracy", is_share=True))
FORECASTING = Identity("forecasting", "forecaster", Headline("mse", larger_is_better=False))
GENERATION = Identity("generation", "generator", Headline("frechet_distance", larger_is_better=False))
ALL = {one.name: one for one in (IMAGE_CLASSIFICATION, BINARY_CLASSIFICATION, FORECASTING, GENERATION)}


def get(name: str) -> Identity:
    """Return the identity of a task by its name.

    Raises:
        ConfigError: no task has that name.
    """
    if name not in ALL:
        raise ConfigError(f"unknown task {name!r}", f"Known: {', '.join(ALL)}.")
    return ALL[name]
