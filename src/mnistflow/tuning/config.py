"""Search parameters: section `tune` of params.yaml, with the search space of each family."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, FiniteFloat, PositiveInt, Tag, model_validator

from mnistflow.models import families
from mnistflow.schema import Section, Seed
from mnistflow.workers import dask_scheduler


class Range(Section):
    """A hyperparameter in an interval: of integers if it is one.

    Attributes:
        low: smallest value.
        high: largest value.
        log: sample the logarithm of the value uniformly.
    """

    low: FiniteFloat
    high: FiniteFloat
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high or (self.log and self.low <= 0):
            raise ValueError("must have low <= high, and low > 0 with log")
        return self

    def contains(self, value: Any) -> bool:
        """Return whether the search may sample this value."""
        return isinstance(value, int | float) and self.low <= value <= self.high

    @property
    def checked_values(self) -> tuple[float, ...]:
        """Values that the hyperparameter must accept: both ends, as integers if they are whole."""
        return tuple(int(end) if end.is_integer() else end for end in (self.low, self.high))


class Choices(Section):
    """A hyperparameter from a list of values."""

    choices: Annotated[tuple[Any, ...], Field(strict=False, min_length=1)]

    def contains(self, value: Any) -> bool:
        """Return whether the search may sample this value."""
        return value in self.choices

    @property
    def checked_values(self) -> tuple[Any, ...]:
        """Values that the hyperparameter must accept."""
        return self.choices


def _kind(entry: Any) -> str:
    is_choices = isinstance(entry, Choices) or (isinstance(entry, dict) and "choices" in entry)
    return "Choices" if is_choices else "Range"


# The discriminator limits validation errors to the kind of entry that was meant.
Hyperparameter = Annotated[
    Annotated[Range, Tag("Range")] | Annotated[Choices, Tag("Choices")],
    Discriminator(_kind),
]
Space = Mapping[str, Hyperparameter]


class TuneConfig(Section):
    """Section `tune`: the hyperparameter search.

    Attributes:
        trials: number of trials; 0 disables the search.
        min_validation: least number of validation examples of a search.
        workers: number of parallel local processes.
        seed: of the sampler.
        epochs: largest number of epochs of a trial.
        train_limit: largest number of training examples of a trial, and of validation examples; None means all.
        pruner: stops trials whose validation loss is high.
        storage: URL of a database for the study; None means a journal file in the workspace.
        scheduler: address of a Dask scheduler; None reads `DASK_SCHEDULER_ADDRESS`, or else uses local processes.
        space: family -> dotted key -> values to sample.
    """

    trials: Annotated[int, Field(ge=0)]
    min_validation: Annotated[int, Field(ge=0)]
    workers: PositiveInt
    seed: Seed
    epochs: PositiveInt
    train_limit: PositiveInt | None
    pruner: Literal["median", "hyperband", "halving", "none"]
    storage: str | None
    scheduler: dask_scheduler.Address | None
    space: dict[str, dict[str, Hyperparameter]]

    @property
    def overrides(self) -> dict[str, Any]:
        """Parameters of every trial, by dotted key, which replace those of the training."""
        # Trials learn from a part of the examples, which need not have feedback to take one after another.
        return {"train.epochs": self.epochs, "train.online": False}

    @model_validator(mode="after")
    def _families_are_known(self) -> Self:
        for family in self.space:
            if family not in families():
                raise ValueError(f"space.{family}: unknown family; known: {', '.join(families())}")
        return self
