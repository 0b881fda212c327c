"""Response to drift alarms: submits a retraining or notifies a person, as `mnistflow.monitoring.response` decides."""

from __future__ import annotations

from datetime import UTC, datetime

from flows import parameters
from flows.orchestration import lifecycle, requested_runs
from mnistflow import files
from mnistflow.config import Config
from mnistflow.monitoring import response, state
from mnistflow.monitoring.response import Step
from mnistflow.monitoring.state import Attempt, State
from mnistflow.paths import Paths
from mnistflow.pipeline import run_plan
from mnistflow.registry import versions
from mnistflow.tracking import runs
from mnistflow.tracking.records import RunQuery
from mnistflow.tracking.store import open_store

DEPLOYMENT = "retrain/weekly"


def respond(paths: Paths, dataset: str, settings: Config, now: datetime) -> Step:
    """Take the next step after a look: submit a retraining, notify a person, or nothing.

    Args:
        paths: of the checkout.
        dataset: name of the data set.
        settings: params.yaml.
        now: time of the look.

    Raises:
        DataError: the state cannot be read.
        MnistflowError: a retraining is due, and one of its inputs is missing, or the Prefect server does not know the
            deployment.
    """
    name = versions.model_name(dataset)
    with files.claim(state.lock(paths, name)) as acquired:
        if not acquired:
            return Step("wait", "the monitoring is already running")
        known = state.read(paths, name)
        champion = versions.version_of_alias(name, versions.CHAMPION)
        if known is None or champion is None or champion.number != known.version:
            return Step("nothing", "the champion has not been monitored yet")
        known = _with_outcomes(known)
        step, inputs = response.next_step(known, _last_retraining(dataset), now, settings.monitor), ""
        if step.kind == "retrain":
            inputs = run_plan.inputs_digest(paths, settings, parameters.values(settings, {"dataset": dataset}))
            step = response.notify_if_repeated(step, known, inputs)
        state.write(paths, name, _taken(known, step, inputs, name, dataset, now))
    return step


def _with_outcomes(known: State) -> State:
    """Return the state with the outcomes of the retrainings that were under way."""
    attempts = [
        attempt.model_copy(update={"outcome": requested_runs.outcome(attempt.flow_run)})
        if attempt.outcome == "running"
        else attempt
        for attempt in known.attempts
    ]
    return known.model_copy(update={"attempts": tuple(attempts)})


def _taken(known: State, step: Step, inputs: str, name: str, dataset: str, now: datetime) -> State:
    """Take a step, and return the state after it."""
    if step.kind == "retrain" and step.alarm:
        # A kill between the submission and the storage of the state submits nothing twice.
        key = f"{name} {step.alarm.time} {len(known.attempts)}"
        run = requested_runs.submit(DEPLOYMENT, {"dataset": dataset, "note": f"Retraining by an {step.reason}"}, key)
        begun = Attempt(time=now.astimezone(UTC).isoformat(timespec="seconds"), flow_run=run, inputs=inputs)
        return known.model_copy(update={"attempts": (*known.attempts, begun)})
    if step.kind == "notify" and step.alarm:
        lifecycle.notify(
            "alarm", name, f"needs a person: {name}: {step.reason}\n{step.alarm.check}: {step.alarm.reason}"
        )
        return known.model_copy(update={"asked": step.alarm.time})
    return known


def _last_retraining(dataset: str) -> datetime | None:
    """Return when the newest retraining began that has succeeded and could have replaced the champion."""
    could_replace = {runs.KIND: "retrain", runs.REGISTERS: "true"}
    query = RunQuery(dataset, status="FINISHED", tags=could_replace, limit=1)
    newest = next(iter(open_store().search_runs(query)), None)
    return datetime.fromtimestamp(newest.started_ms / 1000, UTC) if newest else None
