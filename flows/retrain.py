"""The retrain flow: from raw data to the model that serves."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows import prefect_tasks, report
from flows.orchestration import flow_runs
from flows.outcome import Outcome
from mnistflow import environment
from mnistflow.evaluation import evaluate
from mnistflow.learners.learner import MONITORED
from mnistflow.paths import Paths
from mnistflow.pipeline import workspace as workspaces
from mnistflow.pipeline.pipeline import Pipeline
from mnistflow.pipeline.run_plan import RunPlan
from mnistflow.pipeline.stage_runner import STAGES
from mnistflow.registry import status
from mnistflow.tracking.lazy_run import LazyRun


@flow(name="retrain", log_prints=False)
def retrain(overrides: dict[str, Any] | None = None) -> Outcome:
    """Fetch, prepare, tune, train, export, evaluate, register, compare, promote or hold, publish.

    Args:
        overrides: parameters for this run only, by dotted key.

    Raises:
        MnistflowError: a step failed, and trying it again did not help.
    """
    checkout = Paths.locate()
    environment.configure(checkout)
    flow_runs.begin()
    plan = prefect_tasks.resolve(checkout, overrides or {})
    prefect_tasks.reconcile(checkout, plan.dataset)
    with workspaces.opened(checkout, plan.values) as workspace:
        with LazyRun(checkout, plan.dataset, plan.name, kind="retrain", metrics_after=MONITORED) as run:
            outcome = _run_steps(workspace, plan, run)
        if not outcome.changed:
            status.record_unchanged(checkout, plan.dataset, outcome.run_id)
        if not plan.overrides:
            workspaces.bring_home(workspace)
    create_markdown_artifact(report.markdown(outcome, checkout), key="retrain", description=report.headline(outcome))
    return outcome


def _run_steps(workspace: Paths, plan: RunPlan, run: LazyRun) -> Outcome:
    with Pipeline(workspace, plan.config, run) as pipeline:
        stages = tuple(prefect_tasks.run_stage(pipeline, stage) for stage in STAGES)
        evaluation = evaluate.load(workspace)
        known = prefect_tasks.find_registered(plan.dataset, evaluation)
        if known is None or any(stage.executed for stage in stages):
            prefect_tasks.record(workspace, run, plan.config)
        version = known or prefect_tasks.register(workspace, run, evaluation)
        opponent = prefect_tasks.find_champion(version.name)
        judgement = prefect_tasks.compare(workspace, version, evaluation, plan.config.gate)
        prefect_tasks.publish(workspace, version, judgement)
        champion = prefect_tasks.find_champion(version.name)
        prefect_tasks.push(pipeline)
    return Outcome(
        plan=plan,
        stages=stages,
        run_id=version.run_id,
        registered=known is None,
        version=version,
        evaluation=evaluation,
        verdict=judgement.verdict,
        opponent=opponent if opponent and opponent.number != version.number else None,
        champion=champion.number if champion else None,
    )
