"""Response to alarms: decides whether to start a retraining, to wait, or to notify a person. Pure.

The decision depends on the stored state only. If a crash or an unreachable server prevented an action, the next run of
the monitor repeats it; an alarm whose retraining is running starts no second one. Timestamps later than `now` come from
a clock that was ahead and are ignored, because waiting for them could block retrainings for as long as the clock was
wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Literal

from mnistflow.monitoring.config import MonitorConfig
from mnistflow.monitoring.state import Alarm, Attempt, State

DAY = timedelta(days=1)
MAX_PAUSE = timedelta(days=7)


@dataclass(frozen=True)
class Step:
    """What to do now.

    Attributes:
        kind: `retrain`: start a retraining; `wait`: one is running, the last one was a moment ago, or a person was
            notified; `notify`: notify a person, once per alarm; `nothing`: no alarm is open.
        reason: the reason.
        alarm: the open alarm; None for `nothing`.
    """

    kind: Literal["nothing", "wait", "retrain", "notify"]
    reason: str
    alarm: Alarm | None = None


def next_step(state: State, retrained: datetime | None, now: datetime, config: MonitorConfig) -> Step:
    """Return the next step.

    Args:
        state: after the last look, with up-to-date outcomes of the attempts.
        retrained: start of the newest retraining that succeeded and judged its model, by an alarm or otherwise; None
            for never.
        now: time of the look.
        config: section `monitor` of params.yaml.
    """
    alarm = next((alarm for alarm in reversed(state.alarms) if alarm.version == state.version), None)
    if alarm is None or not config.retrain:
        return Step("nothing", "no alarm" if alarm is None else "monitor.retrain is false")
    if retrained and datetime.fromisoformat(alarm.time) <= retrained <= now:
        return Step("nothing", f"retrained at {retrained.isoformat(timespec='seconds')}, since the last alarm")
    return _open_alarm_step(alarm, state, now, config)


def _open_alarm_step(alarm: Alarm, state: State, now: datetime, config: MonitorConfig) -> Step:
    attempts = state.attempts
    if attempts and attempts[-1].outcome == "running":
        return Step("wait", f"a retraining is under way since {attempts[-1].time}", alarm)
    if attempts and _start(attempts[-1]) <= now < (end := _start(attempts[-1]) + _pause(attempts, config)):
        return Step("wait", f"the next retraining may begin at {end.isoformat(timespec='seconds')}", alarm)
    of_day = sum(timedelta(0) <= now - _start(attempt) < DAY for attempt in attempts)
    if of_day >= config.retrainings_a_day:
        return _notify_once(state, alarm, f"{of_day} retrainings within 24 hours have not ended the alarm")
    return Step("retrain", f"alarm at {alarm.time}: {alarm.check}: {alarm.reason}", alarm)


def notify_if_repeated(step: Step, state: State, inputs: str) -> Step:
    """Return a step, or the one that notifies a person instead of repeating the last retraining that succeeded.

    Args:
        step: to start a retraining.
        state: after the last look, with up-to-date outcomes of the attempts.
        inputs: digest of the data, code and parameters that the retraining would use now.
    """
    last = next((attempt for attempt in reversed(state.attempts) if attempt.outcome == "done"), None)
    if step.alarm is None or last is None or last.inputs != inputs:
        return step
    return _notify_once(state, step.alarm, f"no new data, code or parameters since the retraining at {last.time}")


def _notify_once(state: State, alarm: Alarm, reason: str) -> Step:
    return Step("wait" if state.asked == alarm.time else "notify", reason, alarm)


def _pause(attempts: Sequence[Attempt], config: MonitorConfig) -> timedelta:
    """Return the pause after the last attempt, which grows with the failures in a row."""
    failures = sum(1 for _ in takewhile(lambda attempt: attempt.outcome == "failed", reversed(attempts)))
    hours = min(config.cool_down_hours * 2**failures, MAX_PAUSE / timedelta(hours=1))
    return timedelta(hours=hours)


def _start(attempt: Attempt) -> datetime:
    return datetime.fromisoformat(attempt.time)
