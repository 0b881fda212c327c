"""Program that runs the steps of a retraining one by one: `python -m one_by_one`.

It announces each step in a line `next: STEP` and waits for a line on standard input before it begins.
"""

from prefect import flow

from flows import prefect_tasks
from mnistflow import environment
from mnistflow.learners.learner import MONITORED
from mnistflow.paths import Paths
from mnistflow.pipeline import workspace as workspaces
from mnistflow.pipeline.pipeline import Pipeline
from mnistflow.pipeline.run_plan import RunOptions
from mnistflow.stage_names import STAGES
from mnistflow.tracking.lazy_run import LazyRun


def announce(step: str) -> None:
    print(f"next: {step}", flush=True)  # noqa: T201
    input()


@flow
def one_by_one() -> None:
    checkout = Paths.locate()
    environment.configure(checkout)
    announce("resolve")
    plan = prefect_tasks.resolve(checkout, {}, RunOptions())
    announce("reconcile")
    prefect_tasks.reconcile(checkout, plan.dataset, plan.experiment)
    with (
        workspaces.opened(checkout, plan.values) as workspace,
        LazyRun(checkout, plan.dataset, plan.name, kind="retrain", metrics_after=MONITORED) as run,
        Pipeline(workspace, plan.config, run) as pipeline,
    ):
        announce("remote")
        prefect_tasks.check_remote(pipeline)
        for stage in STAGES:
            announce(stage)
            prefect_tasks.run_stage(pipeline, stage)
        announce("record")
        evaluation = prefect_tasks.record(workspace, run, plan.config)
        announce("push")
        prefect_tasks.push(pipeline)
        announce("find_registered")
        assert prefect_tasks.find_registered(plan.dataset, evaluation) is None
        announce("register")
        version = prefect_tasks.register(workspace, run, evaluation)
        announce("find_champion")
        prefect_tasks.find_champion(version.name)
        announce("compare")
        judgement = prefect_tasks.compare(workspace, version, evaluation, plan.config.gate)
        announce("publish")
        prefect_tasks.publish(workspace, version, judgement)


if __name__ == "__main__":
    one_by_one()
