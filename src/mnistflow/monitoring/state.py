"""State of the monitoring of a model between two looks: a file in `var/monitor`, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt

from mnistflow import files
from mnistflow.errors import DataError, MnistflowError
from mnistflow.paths import Paths

Check = Literal["inputs", "outputs", "confidence", "accuracy"]
CHECKS: tuple[Check, ...] = get_args(Check)
MAX_KEPT = 100  # alarms, and attempts


class Alarm(BaseModel):
    """An alarm.

    Attributes:
        time: ISO 8601, UTC.
        version: the one that was monitored.
        check: that raised it; `question` in JSON.
        reason: the statistics that show it; `because` in JSON.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    time: str
    version: int
    check: Check = Field(validation_alias="question", serialization_alias="question")
    reason: str = Field(validation_alias="because", serialization_alias="because")


class Attempt(BaseModel):
    """A retraining that an alarm has started.

    Attributes:
        time: ISO 8601, UTC.
        flow_run: its id in Prefect.
        inputs: digest of the data, code and parameters that it was to use; empty if not known.
        outcome: as of the last look.
    """

    model_config = ConfigDict(frozen=True)

    time: str
    flow_run: str
    inputs: str = ""
    outcome: Literal["running", "done", "failed"] = "running"


class State(BaseModel):
    """Result of the looks so far, which the next one continues from.

    Attributes:
        version: the champion that was monitored.
        run_id: of the run in MLflow that keeps its series; empty before the first look.
        row: last row of the inference log that was read.
        feedback_row: row of the last feedback that was read.
        looked: time of the last look, ISO 8601, UTC; empty before the first.
        looks: number of looks at this version.
        evidence: components of the detector of each check.
        right: number of right answers among those with feedback.
        labelled: number of answers with feedback.
        alarms: of this version and those before it, oldest first.
        attempts: retrainings by alarms, oldest first.
        asked: time of the alarm that a person was last notified of, because another retraining would not help.
        summary: the last look in one line.
    """

    model_config = ConfigDict(frozen=True)

    version: NonNegativeInt
    run_id: str = ""
    row: NonNegativeInt = 0
    feedback_row: NonNegativeInt = 0
    looked: str = ""
    looks: NonNegativeInt = 0
    evidence: dict[Check, tuple[NonNegativeFloat, ...]] = {}
    right: NonNegativeInt = 0
    labelled: NonNegativeInt = 0
    alarms: tuple[Alarm, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    asked: str = ""
    summary: str = ""


def folder(paths: Paths, name: str) -> Path:
    """Return the folder of a registered model's monitoring."""
    return paths.var / "monitor" / name


def lock(paths: Paths, name: str) -> Path:
    """Return the file whose lock is held from reading the state to writing it."""
    return folder(paths, name) / "lock"


@contextmanager
def exclusive(paths: Paths, name: str) -> Iterator[None]:
    """Let no other process look at a registered model during the block.

    Raises:
        MnistflowError: another process does; transient.
    """
    with files.claim(lock(paths, name)) as acquired:
        if not acquired:
            raise MnistflowError(
                f"the monitoring of {name} is already running", "Try again in a moment.", transient=True
            )
        yield


def read(paths: Paths, name: str) -> State | None:
    """Return the state after the last look at a registered model; None before the first.

    Raises:
        DataError: the file is damaged.
    """
    return files.read_model(_path(paths, name), State, "Delete it: the monitoring then starts again.")


def described(paths: Paths, name: str) -> str:
    """Return the last look at a registered model, or why it cannot be read, in one line."""
    try:
        last = read(paths, name)
    except DataError as error:
        return str(error)
    return f"{last.looked}: {last.summary}" if last and last.looked else "no look yet: `mnistflow monitor` takes one"


def write(paths: Paths, name: str, state: State) -> None:
    """Store the state after a look."""
    kept = state.model_copy(update={"alarms": state.alarms[-MAX_KEPT:], "attempts": state.attempts[-MAX_KEPT:]})
    files.write_model(_path(paths, name), kept)


def _path(paths: Paths, name: str) -> Path:
    return folder(paths, name) / "state.json"
