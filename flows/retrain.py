"""The retrain flow: from raw data to the model that serves."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows import prefect_tasks, report
from flows.outcome import Outcome
from mnistflow import environment
from mnistflow.evaluation import evaluate
from mnistflow.learners.learner import WATCHED
from mnistflow.paths import Paths
from mnistflow.pipeline import workspace as workspaces
from mnistflow.pipeline.pipeline import Pipeline
from mnistflow.pipeline.run_plan import RunPlan
from mnistflow.pipeline.stage_runner import STAGES
from mnistflow.registry import promotion, versions
from mnistflow.tracking import runs
from mnistflow.tracking.lazy_run import LazyRun


@flow(name="retrain", log_prints=False)
def retrain(overrides: dict[str, Any] | None = None) -> Outcome:
    """Fetch, prepare, tune, train, export, evaluate, register, compare, promote or hold, publish.

    Args:
        overrides: parameters for this run only, by dotted key.
    """
    checkout = Paths.locate()
    environment.configure(checkout)
    plan = prefect_tasks.resolve(checkout, overrides or {})
    runs.close_dead_runs(checkout, plan.dataset)
    promotion.reconcile(checkout, versions.model_name(plan.dataset))
    workspace = workspaces.create(checkout, plan.values)
    with workspaces.tidied(workspace):
        with LazyRun(checkout, plan.dataset, plan.name, kind="retrain", metrics_after=WATCHED) as run:
            outcome = _run_steps(workspace, plan, run)
        if not plan.overrides:
            workspaces.bring_home(workspace)
    create_markdown_artifact(report.markdown(outcome, checkout), key="retrain", description=report.headline(outcome))
    return outcome


def _run_steps(workspace: Paths, plan: RunPlan, run: LazyRun) -> Outcome:
    with Pipeline(workspace, plan.config, run) as pipeline:
        stages = tuple(prefect_tasks.run_stage(pipeline, stage) for stage in STAGES)
        evaluation = evaluate.load(workspace)
        known = versions.registered_as(versions.model_name(plan.dataset), evaluation.model_sha256)
        if known is None or any(stage.executed for stage in stages):
            prefect_tasks.record(workspace, run.start(), plan.config)
        version = known or prefect_tasks.register(workspace, run.start(), evaluation)
        opponent = versions.holder(version.name, versions.CHAMPION)
        judgement = prefect_tasks.compare(workspace, version, evaluation, plan.config.gate)
        prefect_tasks.publish(workspace, version, judgement)
        prefect_tasks.push(pipeline)
    champion = versions.holder(version.name, versions.CHAMPION)
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
