"""The retrain flow: from raw data to the model that serves."""

from collections.abc import Mapping

from prefect import flow, runtime
from prefect.artifacts import create_markdown_artifact

from flows import parameters, prefect_tasks, report
from flows.orchestration import flow_runs, lifecycle
from flows.orchestration.notifications import Event
from flows.outcome import GateOutcome, Outcome, Result
from mnistflow import environment
from mnistflow.evaluation import evaluate
from mnistflow.evaluation.evaluate import Evaluation
from mnistflow.learners.learner import MONITORED
from mnistflow.paths import Paths
from mnistflow.pipeline import workspace as workspaces
from mnistflow.pipeline.pipeline import Pipeline
from mnistflow.pipeline.run_plan import RunOptions, RunPlan
from mnistflow.registry import status, versions
from mnistflow.registry.gate.verdict import Verdict
from mnistflow.registry.versions import Version
from mnistflow.stage_names import STAGES
from mnistflow.tracking.lazy_run import LazyRun

EVENTS: Mapping[Result, Event] = {"promoted": "promoted", "promoted-again": "promoted", "rejected": "rejected"}


def _title() -> str:
    return prefect_tasks.title(Paths.locate(), runtime.flow_run.parameters) or runtime.flow_run.name


@flow(name="retrain", flow_run_name=_title, log_prints=False)
@lifecycle.managed
def retrain(
    preset: parameters.Preset = None,
    dataset: parameters.Dataset = None,
    family: parameters.Family = None,
    seed: parameters.Seed = None,
    epochs: parameters.Epochs = None,
    batch_size: parameters.BatchSize = None,
    learning_rate: parameters.LearningRate = None,
    train_limit: parameters.TrainLimit = None,
    trials: parameters.Trials = None,
    overrides: parameters.Overrides = None,
    name: parameters.Text = None,
    note: parameters.Text = None,
    register_model: bool = True,
    experiment: parameters.Text = None,
) -> Outcome:
    """Fetch, prepare, tune, train, export, evaluate, register, compare, promote or hold, publish.

    An empty parameter stands for the value of the preset, or else of params.yaml.

    Args:
        preset: A named set of overrides from params.yaml; the other parameters win.
        dataset: Name of the data set.
        family: Model family.
        seed: Of weights, order of batches, augmentation and dropout.
        epochs: Largest number of epochs.
        batch_size: Examples per step.
        learning_rate: Highest learning rate of the schedule.
        train_limit: Largest number of training examples.
        trials: Number of trials of the search; 0 trains without a search.
        overrides: Other parameters of params.yaml, by dotted key, such as {"train.optimizer": "sgd"}.
        name: Name of the run in Prefect and MLflow, instead of one that states the parameters.
        note: Description of the run in MLflow, in Markdown.
        register_model: Whether to register, compare and publish the model; otherwise it is only evaluated and recorded.
        experiment: Experiment of MLflow to log the run to, instead of that of the data set.

    Raises:
        MnistflowError: a step failed, and trying it again did not help.
    """
    checkout = Paths.locate()
    environment.configure(checkout)
    chosen = {
        "preset": preset,
        "dataset": dataset,
        "family": family,
        "seed": seed,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "train_limit": train_limit,
        "trials": trials,
        "overrides": overrides,
    }
    plan = prefect_tasks.resolve(
        checkout, chosen, RunOptions(name or None, note or None, register_model, experiment or None)
    )
    lifecycle.add_tags(dataset=plan.dataset, family=plan.config.model.family, preset=preset)
    prefect_tasks.reconcile(checkout, plan.dataset, plan.experiment)
    with workspaces.opened(checkout, plan.values) as workspace:
        tags = {**plan.tags, **flow_runs.tags()}
        with LazyRun(checkout, plan.experiment, plan.name, "retrain", metrics_after=MONITORED, tags=tags) as run:
            outcome = _run_steps(workspace, plan, run)
        if run.run_id is None:
            status.record_unchanged(checkout, plan.dataset, outcome.run_id)
        if not plan.overrides:
            # A fallback is an override.
            workspaces.move_outputs_to_checkout(workspace, plan.pinned.keys() - {"fetch.dataset"})
    text, summary = report.retraining(outcome, checkout), report.summary_line(outcome)
    create_markdown_artifact(text, key="retrain", description=summary)
    _announce(outcome)
    return outcome


def _announce(outcome: Outcome) -> None:
    """Tag the flow run with the verdict, and send a notification of a model that was promoted or rejected."""
    lifecycle.add_tags(verdict=outcome.result)
    event = EVENTS.get(outcome.result)
    if event and outcome.gate:
        lifecycle.notify(
            event, outcome.gate.version.name, "\n".join([report.summary_line(outcome), *report.reasons(outcome)])
        )


def _run_steps(workspace: Paths, plan: RunPlan, run: LazyRun) -> Outcome:
    with Pipeline(workspace, plan.config, run) as pipeline:
        prefect_tasks.check_remote(pipeline)
        stages = tuple(prefect_tasks.run_stage(pipeline, stage) for stage in STAGES)
        evaluation = evaluate.load(workspace)
        known = prefect_tasks.find_registered(plan.dataset, evaluation)
        if known is None or plan.options.must_record_run or any(stage.executed for stage in stages):
            prefect_tasks.record(workspace, run, plan.config)
        # Before anything is published: a version that serves can always be repeated from what the remote has.
        prefect_tasks.push(pipeline)
        gate = _register_and_judge(workspace, plan, run, evaluation, known) if plan.options.register else None
    champion = prefect_tasks.find_champion(versions.model_name(plan.dataset))
    return Outcome(
        plan=plan,
        stages=stages,
        run_id=run.run_id or (known.run_id if known else ""),
        evaluation=evaluation,
        gate=gate,
        champion=champion.number if champion else None,
    )


def _register_and_judge(
    workspace: Paths, plan: RunPlan, run: LazyRun, evaluation: Evaluation, known: Version | None
) -> GateOutcome:
    """Register the model unless it is known, compare it with the champion, and publish it as the verdict demands."""
    version = known or prefect_tasks.register(workspace, run, evaluation)
    if known and known == prefect_tasks.find_champion(known.name):
        # Already the champion: no lease and no verdict are needed.
        return GateOutcome(known, registered=False, verdict=Verdict(known.decision, known.reasons), opponent=None)
    with prefect_tasks.acquire_lease(version.name):
        opponent = prefect_tasks.find_champion(version.name)
        judgement = prefect_tasks.compare(workspace, version, evaluation, plan.config.gate)
        prefect_tasks.publish(workspace, version, judgement)
    if known is None:
        prefect_tasks.send_lineage(workspace, version)
    return GateOutcome(
        version=version,
        registered=known is None,
        verdict=judgement.verdict,
        opponent=opponent if opponent and opponent.number != version.number else None,
    )
