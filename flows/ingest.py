"""The ingest flow: fetch the data, check it, version it, and push it to DVC's remote."""

from prefect import flow

from flows import prefect_tasks
from flows.orchestration import lifecycle
from mnistflow import environment
from mnistflow.paths import Paths
from mnistflow.pipeline import workspace as workspaces
from mnistflow.pipeline.pipeline import Pipeline
from mnistflow.pipeline.run_plan import RunOptions
from mnistflow.pipeline.stage_runner import StageOutcome
from mnistflow.stage_names import DATA_STAGES


@flow(name="ingest")
@lifecycle.managed
def ingest() -> tuple[StageOutcome, ...]:
    """Fetch, prepare, version, push.

    Raises:
        MnistflowError: a step failed, and trying it again did not help.
    """
    checkout = Paths.locate()
    environment.configure(checkout)
    plan = prefect_tasks.resolve(checkout, {}, RunOptions())
    lifecycle.add_tags(dataset=plan.dataset)
    with (
        workspaces.opened(checkout, plan.values) as workspace,
        Pipeline(workspace, plan.config, stages=DATA_STAGES) as pipeline,
    ):
        prefect_tasks.check_remote(pipeline)
        stages = tuple(prefect_tasks.run_stage(pipeline, stage) for stage in DATA_STAGES)
        prefect_tasks.push(pipeline)
    return stages
