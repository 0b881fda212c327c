"""The ingest flow: bring the data in, check it, version it, and push it to DVC's remote."""

from prefect import flow

from flows import prefect_tasks
from mnistflow import environment
from mnistflow.paths import Paths
from mnistflow.pipeline import workspace as workspaces
from mnistflow.pipeline.pipeline import Pipeline
from mnistflow.pipeline.stage_runner import StageOutcome


@flow(name="ingest")
def ingest() -> tuple[StageOutcome, ...]:
    """Fetch, prepare, version, push."""
    checkout = Paths.locate()
    environment.configure(checkout)
    plan = prefect_tasks.resolve(checkout, {})
    workspace = workspaces.create(checkout, plan.values)
    with workspaces.tidied(workspace), Pipeline(workspace, plan.config) as pipeline:
        stages = tuple(prefect_tasks.run_stage(pipeline, stage) for stage in ("fetch", "prepare"))
        prefect_tasks.push(pipeline)
    return stages
