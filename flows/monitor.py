"""The monitor flow: one look at the traffic of the champion, a report, the watch, and the response to alarms."""

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows import parameters, prefect_tasks, report
from flows.orchestration import lifecycle
from mnistflow import environment
from mnistflow.monitoring.look import Look
from mnistflow.paths import Paths


@flow(name="monitor", log_prints=False)
@lifecycle.managed
def monitor(dataset: parameters.Dataset = None) -> Look:
    """Check the traffic since the last look for drift and lost accuracy, watch a new champion, and respond to alarms.

    Args:
        dataset: Name of the data set; by default, that of params.yaml.

    Raises:
        MnistflowError: a step failed, and trying it again did not help.
    """
    checkout = Paths.locate()
    environment.configure(checkout)
    look = prefect_tasks.look(checkout, dataset)
    if look.images:
        create_markdown_artifact(report.monitoring(look, checkout), key="monitor", description=look.summary)
    if look.alarms:
        reasons = [f"{alarm.check}: {alarm.reason}" for alarm in look.alarms]
        lifecycle.notify("alarm", look.model, "\n".join([f"alarm: {look.summary}", *reasons]))
    prefect_tasks.watch(checkout, dataset)  # first: what was rolled back needs no retraining
    prefect_tasks.respond(checkout, dataset)
    return look
