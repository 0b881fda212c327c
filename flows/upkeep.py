"""The upkeep flow: repairs what went wrong, removes what is old if configured, and notifies a person of the rest."""

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows import parameters, prefect_tasks, report
from flows.checkup import Checkup
from flows.orchestration import lifecycle
from mnistflow import environment
from mnistflow.paths import Paths


@flow(name="upkeep", log_prints=False)
@lifecycle.managed
def upkeep(dataset: parameters.Dataset = None) -> Checkup:
    """Do what `mnistflow doctor --repair` does and, with `gc.automatic`, what `mnistflow gc --delete` does.

    Args:
        dataset: Name of the data set; by default, that of params.yaml.

    Raises:
        MnistflowError: a step failed, and trying it again did not help.
    """
    checkout = Paths.locate()
    environment.configure(checkout)
    removed = prefect_tasks.collect_garbage(checkout)  # first: it may be what fills the disk
    found = prefect_tasks.check_up(checkout, dataset)
    create_markdown_artifact(report.upkeep(found, removed), key="upkeep", description=found.summary)
    if found.left:
        lines = [found.summary, *map(str, found.left), *found.failures]
        lifecycle.notify("upkeep", "upkeep", "\n".join(lines))
    return found
