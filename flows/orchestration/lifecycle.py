"""Lifecycle of a flow run: its start, the tags that describe it, and the same end in Prefect and in MLflow.

A run that a schedule has started does nothing if another run of its deployment has done the same after it was due: two
schedules that are due at once, or a backlog after a downtime, result in one run. A run that is asked for is executed.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from flows.orchestration import flow_runs, notifications, server_address
from flows.orchestration.notifications import Event, Notification

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State

Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")

# Environment variable of Prefect: a worker on infrastructure that may end at any time starts such runs again.
RESCHEDULED = "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"
SKIPPED = "Skipped"  # name of the state of a run that had nothing to do


def managed(function: Callable[Arguments, Returned]) -> Callable[Arguments, Returned]:
    """Decorate the function of a flow, below `@flow`.

    An interrupt makes the flow run Cancelled, and its run in MLflow KILLED. Prefect itself would call it Crashed.
    """

    @functools.wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Returned:
        from prefect.exceptions import TerminationSignal
        from prefect.states import Cancelled, Completed

        flow_runs.begin()
        # A state that a flow returns becomes the state of its run.
        if done := _done_already():
            message = f"Flow run {done.name!r} has done the same after this one was due."
            return cast(Returned, Completed(name=SKIPPED, message=message, data=message))
        try:
            return function(*args, **kwargs)
        except (KeyboardInterrupt, TerminationSignal):
            if RESCHEDULED in os.environ:
                raise
            return cast(Returned, Cancelled(message="The run was interrupted."))
        except Exception as error:
            notify("failed", function.__name__, f"failed: {error}")
            raise

    return run


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt when a flow that is called in the block was interrupted.

    Raises:
        KeyboardInterrupt: the flow run is Cancelled.
    """
    from prefect.exceptions import CancelledRun

    try:
        yield
    except CancelledRun:
        raise KeyboardInterrupt from None


def add_tags(**tags: str | None) -> None:
    """Add tags such as `dataset:digits` to the current flow run; those without a value are left out."""
    from prefect.client.orchestration import get_client

    if run := _current():
        added = [f"{name}:{value}" for name, value in tags.items() if value]
        run.tags = [*run.tags, *added]
        with get_client(sync_client=True) as client:
            client.update_flow_run(run.id, tags=run.tags)


def notify(event: Event, subject: str, text: str) -> None:
    """Send a notification of what has happened in the current flow run.

    Args:
        subject: name of the model or of the flow.
        text: the first line is a summary; the name of the flow run is added.
    """
    run = _current()
    named = f"{text}\nFlow run: {run.name}" if run else text
    notifications.send(
        Notification(event, subject, named, str(run.id) if run else None), os.environ.get(server_address.API_VARIABLE)
    )


def _current() -> FlowRun | None:
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    return context.flow_run if context else None


def _done_already() -> FlowRun | None:
    """Return a run of the same deployment with the same parameters that began after the current, scheduled one was due.

    Skipped runs do not count: they have done nothing.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType

    run = _current()
    if run is None or run.deployment_id is None or not run.auto_scheduled or run.expected_start_time is None:
        return None
    with get_client(sync_client=True) as client:
        later = client.read_flow_runs(
            flow_run_filter=filters.FlowRunFilter(
                state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=[StateType.COMPLETED])),
                start_time=filters.FlowRunFilterStartTime(after_=run.expected_start_time),
            ),
            deployment_filter=filters.DeploymentFilter(id=filters.DeploymentFilterId(any_=[run.deployment_id])),
        )
    same = [other for other in later if other.parameters == run.parameters and _has_worked(other.state)]
    return same[0] if same else None


def _has_worked(state: State[Any] | None) -> bool:
    return state is not None and state.name != SKIPPED
