"""Record of a watch: a file in `var/monitor`, written before each action that follows from it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

from mnistflow import files
from mnistflow.errors import DataError
from mnistflow.monitoring import state
from mnistflow.paths import Paths

Outcome = Literal["watching", "kept", "worse", "rolled back", "overtaken"]


class Watch(BaseModel):
    """The watch of one promotion.

    Attributes:
        version: the champion that is watched.
        predecessor: the one before it.
        since: when the version was promoted, ISO 8601, UTC, as the registry states it. After a move by a machine whose
            clock was ahead, this can lie in the future.
        looked: the earliest time of a look of this watch; None before the first.
        labelled: images with feedback that both versions predicted.
        wins: those of them that only the champion predicts correctly.
        losses: those that only its predecessor predicts correctly.
        outcome: `worse` until the version is rolled back; `overtaken` if something else has moved the alias.
        reason: of the outcome, or the result so far; `because` in JSON.
        announced: whether a notification of the outcome was sent.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    version: PositiveInt
    predecessor: PositiveInt
    since: str
    looked: datetime | None = None
    labelled: NonNegativeInt = 0
    wins: NonNegativeInt = 0
    losses: NonNegativeInt = 0
    outcome: Outcome = "watching"
    reason: str = Field(default="", validation_alias="because", serialization_alias="because")
    announced: bool = False

    @property
    def began(self) -> datetime:
        """Begin of the watch: when the version was promoted, and at the latest the first look."""
        promoted = datetime.fromisoformat(self.since)
        return min(promoted, self.looked or promoted)

    @property
    def is_open(self) -> bool:
        """Whether the watch continues, or a rollback is pending."""
        return self.outcome in ("watching", "worse")

    def looked_at(self, now: datetime) -> Self:
        """Return the watch with the time of a look."""
        return self.model_copy(update={"looked": min(self.looked or now, now)})

    def __str__(self) -> str:
        what = f"version {self.version} against version {self.predecessor}"
        return f"{what}, since {self.since}: {self.outcome}{f': {self.reason}' if self.reason else ''}"


def read(paths: Paths, name: str) -> Watch | None:
    """Return the last watch of a registered model; None before the first.

    Raises:
        DataError: the file is damaged.
    """
    return files.read_model(_path(paths, name), Watch, "Delete it: the watch then starts again.")


def write(paths: Paths, name: str, watch: Watch) -> None:
    """Store a watch."""
    files.write_model(_path(paths, name), watch)


def described(paths: Paths, name: str) -> str:
    """Return the last watch of a registered model, or why it cannot be read, in one line."""
    try:
        last = read(paths, name)
    except DataError as error:
        return str(error)
    return str(last) if last else "none: the gate has not replaced a champion since the last look"


def _path(paths: Paths, name: str) -> Path:
    return state.folder(paths, name) / "watch.json"
