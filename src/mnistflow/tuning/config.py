"""Parameters of a search for hyperparameters, and of its search space."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from mnistflow.models import families
from mnistflow.schema import Section, Seed
from mnistflow.workers import dask_scheduler


class FloatRange(Section):
    """A hyperparameter between two numbers, drawn from a logarithmic scale on demand."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high or (self.log and self.low <= 0):
            raise ValueError("needs low <= high, and low > 0 with log")
        return self

    def contains(self, value: Any) -> bool:
        """Return whether the search may draw this value."""
        return bool(self.low <= value <= self.high)


class Choices(Section):
    """A hyperparameter out of a list."""

    choices: Annotated[tuple[Any, ...], Field(strict=False, min_length=1)]

    def contains(self, value: Any) -> bool:
        """Return whether the search may draw this value."""
        return value in self.choices


Space = Mapping[str, FloatRange | Choices]


class TuneConfig(Section):
    """Section `tune`: the search for hyperparameters."""

    trials: Annotated[int, Field(ge=0)]
    workers: PositiveInt
    seed: Seed
    epochs: PositiveInt
    train_limit: PositiveInt | None
    pruner: Literal["median", "hyperband", "halving", "none"]
    storage: str | None
    scheduler: dask_scheduler.Address | None
    space: dict[str, dict[str, FloatRange | Choices]]

    @model_validator(mode="after")
    def _families_are_known(self) -> Self:
        for family in self.space:
            if family not in families():
                raise ValueError(f"space.{family}: unknown family; known: {', '.join(families())}")
        return self
