"""The retrain flow: from raw data to the model that serves."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows import prefect_tasks, report
from flows.orchestration import flow_runs
from flows.outcome import GateOutcome, Outcome
from mnistflow import environment
from mnistflow.evaluation import evaluate
from mnistflow.evaluation.evaluate import Evaluation
from mnistflow.learners.learner import MONITORED
from mnistflow.paths import Paths
from mnistflow.pipeline import workspace as workspaces
from mnistflow.pipeline.pipeline import Pipeline
from mnistflow.pipeline.run_plan import RunOptions, RunPlan
from mnistflow.pipeline.stage_runner import STAGES
from mnistflow.registry import status, versions
from mnistflow.registry.versions import Version
from mnistflow.tracking.lazy_run import LazyRun


@flow(name="retrain", log_prints=False)
def retrain(
    overrides: dict[str, Any] | None = None,
    name: str | None = None,
    note: str | None = None,
    register_model: bool = True,
    experiment: str | None = None,
) -> Outcome:
    """Fetch, prepare, tune, train, export, evaluate, register, compare, promote or hold, publish.

    Args:
        overrides: parameters for this run only, by dotted key.
        name: of the run in MLflow, instead of one that states the parameters.
        note: description of the run in MLflow, in Markdown.
        register_model: False to evaluate and record the model without registering, comparing or publishing it.
        experiment: of MLflow to log the run to, instead of that of the data set.

    Raises:
        MnistflowError: a step failed, and trying it again did not help.
    """
    checkout = Paths.locate()
    environment.configure(checkout)
    flow_runs.begin()
    plan = prefect_tasks.resolve(
        checkout, overrides or {}, RunOptions(name or None, note or None, register_model, experiment or None)
    )
    prefect_tasks.reconcile(checkout, plan.dataset, plan.experiment)
    with workspaces.opened(checkout, plan.values) as workspace:
        tags = {"mlflow.note.content": note} if note else {}
        with LazyRun(checkout, plan.experiment, plan.name, "retrain", metrics_after=MONITORED, tags=tags) as run:
            outcome = _run_steps(workspace, plan, run)
        if run.run_id is None:
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
        if known is None or plan.options.want_a_run or any(stage.executed for stage in stages):
            prefect_tasks.record(workspace, run, plan.config)
        gate = _decide(workspace, plan, run, evaluation, known) if plan.options.register else None
        prefect_tasks.push(pipeline)
    champion = prefect_tasks.find_champion(versions.model_name(plan.dataset))
    return Outcome(
        plan=plan,
        stages=stages,
        run_id=run.run_id or (known.run_id if known else ""),
        evaluation=evaluation,
        gate=gate,
        champion=champion.number if champion else None,
    )


def _decide(
    workspace: Paths, plan: RunPlan, run: LazyRun, evaluation: Evaluation, known: Version | None
) -> GateOutcome:
    """Register the model unless it is known, compare it with the champion, and publish it as the verdict demands."""
    version = known or prefect_tasks.register(workspace, run, evaluation)
    opponent = prefect_tasks.find_champion(version.name)
    judgement = prefect_tasks.compare(workspace, version, evaluation, plan.config.gate)
    prefect_tasks.publish(workspace, version, judgement)
    return GateOutcome(
        version=version,
        registered=known is None,
        verdict=judgement.verdict,
        opponent=opponent if opponent and opponent.number != version.number else None,
    )
