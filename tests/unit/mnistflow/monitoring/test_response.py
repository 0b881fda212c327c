"""Steps after alarms: what starts a retraining, what waits, and when a person is asked."""

from datetime import UTC, datetime, timedelta
from typing import Literal

from checkouts import ROOT

from mnistflow import config
from mnistflow.monitoring.response import Step, next_step, notify_if_repeated
from mnistflow.monitoring.state import Alarm, Attempt, State

SETTINGS = config.load(ROOT / "params.yaml").monitor.with_values({"cool_down_hours": 6.0, "retrainings_a_day": 2})
START = datetime(2026, 1, 1, tzinfo=UTC)


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def alarm(hours: float, version: int = 3) -> Alarm:
    return Alarm(time=at(hours).isoformat(), version=version, check="inputs", reason="contrast")


def attempt(hours: float, outcome: Literal["running", "done", "failed"]) -> Attempt:
    return Attempt(time=at(hours).isoformat(), flow_run="", outcome=outcome)


def step(now: float, *done: Alarm | Attempt, retrained: float | None = None, asked: str = "") -> Step:
    alarms = tuple(one for one in done if isinstance(one, Alarm))
    attempts = tuple(one for one in done if isinstance(one, Attempt))
    state = State(version=3, alarms=alarms, attempts=attempts, asked=asked)
    return next_step(state, None if retrained is None else at(retrained), at(now), SETTINGS)


def test_an_alarm_of_the_champion_starts_a_retraining() -> None:
    assert step(1).kind == "nothing"
    assert step(1, alarm(0, version=2)).kind == "nothing"
    found = step(1, alarm(0))
    assert (found.kind, found.alarm) == ("retrain", alarm(0))
    assert "contrast" in found.reason


def test_an_alarm_is_closed_by_any_retraining_that_began_after_it() -> None:
    assert step(5, alarm(1), retrained=2).kind == "nothing"
    assert step(5, alarm(1), retrained=0).kind == "retrain"
    assert step(5, alarm(1), alarm(4), retrained=2).kind == "retrain"


def test_one_retraining_at_a_time_with_a_pause_that_failures_double() -> None:
    assert step(2, alarm(0), attempt(1, "running")).kind == "wait"
    assert step(6, alarm(2), attempt(1, "done")).kind == "wait"
    assert step(8, alarm(2), attempt(1, "done")).kind == "retrain"
    assert step(8, alarm(0), attempt(1, "failed")).kind == "wait"
    assert step(14, alarm(0), attempt(1, "failed")).kind == "retrain"
    failed = [attempt(hour, "failed") for hour in (-300, -200, -100, 0)]
    assert "2026-01-05T00:00:00" in step(95, alarm(-400), *failed).reason
    many = [attempt(-1000 + number, "failed") for number in range(40)]
    assert step(0, alarm(-2000), *many).kind == "retrain"  # the pause is a week at most


def test_a_person_is_asked_once_when_the_retrainings_of_a_day_are_used_up() -> None:
    done = (attempt(0, "done"), attempt(7, "done"))
    assert step(14, alarm(13), *done).kind == "notify"
    assert step(15, alarm(13), *done, asked=alarm(13).time).kind == "wait"
    assert step(25, alarm(13), *done, asked=alarm(13).time).kind == "retrain"


def test_a_person_is_asked_once_instead_of_repeating_a_retraining() -> None:
    due = step(14, alarm(13), attempt(1, "done"))

    def taken(inputs: str, asked: str = "", *, done: str = "data 1", failed: str = "data 2") -> Step:
        attempts = (
            attempt(0, "done").model_copy(update={"inputs": done}),
            attempt(1, "failed").model_copy(update={"inputs": failed}),
        )
        return notify_if_repeated(due, State(version=3, attempts=attempts, asked=asked), inputs)

    assert taken("data 2") == due  # what has failed is tried again
    assert taken("data 3") == due
    assert taken("data 1").kind == "notify"
    assert "no new data, code or parameters since the retraining at 2026-01-01T00:00:00" in taken("data 1").reason
    assert taken("data 1", asked=alarm(13).time).kind == "wait"
    assert taken("data 1", done="") == due  # attempts of earlier releases name none
    assert notify_if_repeated(due, State(version=3), "data 1") == due


def test_a_clock_that_was_ahead_blocks_nothing() -> None:
    year = 8766
    ahead = (attempt(year, "done"), attempt(year + 7, "failed"))
    assert step(14, alarm(13), *ahead).kind == "retrain"
    assert step(14, alarm(13), *ahead, attempt(13.5, "done")).kind == "wait"  # the pause after one by the right clock
    assert step(14, alarm(13), retrained=year).kind == "retrain"


def test_nothing_is_started_where_that_is_switched_off() -> None:
    state = State(version=3, alarms=(alarm(0),))
    assert next_step(state, None, at(1), SETTINGS.with_values({"retrain": False})).kind == "nothing"
