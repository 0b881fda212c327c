"""The ingest flow: bring the data in, check it, version it, and push it to DVC's remote."""

from prefect import flow

from flows import tasks
from mnistflow import config, environment, pipeline, stage_runner
from mnistflow.pipeline import Pipeline, StageOutcome
from mnistflow.project import Project


@flow(name="ingest")
def ingest() -> tuple[StageOutcome, ...]:
    """Fetch, prepare, version, push."""
    home = Project.locate()
    environment.configure(home)
    settings = config.load(home.params)
    workspace = pipeline.create_workspace(home, tasks.choose_dataset(home, settings))
    with pipeline.tidied(workspace):
        with stage_runner.beside(settings.train) as runner:
            steps = Pipeline(workspace, runner)
            stages = tuple(tasks.run_stage(steps, stage) for stage in ("fetch", "prepare"))
        tasks.push(steps)
    return stages
