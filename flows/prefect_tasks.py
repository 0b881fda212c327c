"""Prefect tasks: each step of the flows, tried again after an error that may go away by itself.

Prefect caches nothing: DVC alone decides what is up to date.
"""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger
from prefect.tasks import Task

from flows import checkup, garbage_collection, parameters, promotion_watch, response
from flows.checkup import Checkup
from flows.orchestration import lifecycle
from mnistflow import config, environment, errors
from mnistflow.config import Config
from mnistflow.data import fetch
from mnistflow.errors import ConfigError, MnistflowError
from mnistflow.evaluation.evaluate import Evaluation
from mnistflow.monitoring import look as looks
from mnistflow.monitoring import reference
from mnistflow.monitoring.look import Look
from mnistflow.monitoring.response import Step
from mnistflow.monitoring.watch.record import Watch
from mnistflow.paths import Paths
from mnistflow.pipeline import record as run_record
from mnistflow.pipeline import run_names, run_plan
from mnistflow.pipeline.pipeline import Pipeline
from mnistflow.pipeline.run_plan import RunOptions, RunPlan
from mnistflow.pipeline.stage_runner import StageOutcome
from mnistflow.provenance import bundle, golden_sets, lineage_graph, open_lineage, signature
from mnistflow.registry import dataset_choice, promotion, registration, versions
from mnistflow.registry.gate.config import GateConfig
from mnistflow.registry.gate.judgement import Judgement, judge, record_verdict
from mnistflow.registry.repository import reconciliation
from mnistflow.registry.versions import Version
from mnistflow.tracking import runs
from mnistflow.tracking.lazy_run import LazyRun
from mnistflow.tracking.lease import Lease
from mnistflow.transient import is_transient
from mnistflow.upkeep.gc.garbage import Garbage

Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")


async def _has_transient_error(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    error = await state.aresult(raise_on_failure=False)
    return isinstance(error, Exception) and is_transient(error)


def _step(name: str) -> Callable[[Callable[Arguments, Returned]], Task[Arguments, Returned]]:
    """Return a decorator that makes a function a task. All tasks are tried again in the same way.

    Args:
        name: of the task's runs, with its parameters in braces.
    """
    delays = list(environment.retry_delays())
    return task(
        task_run_name=name,
        cache_policy=NO_CACHE,
        retries=len(delays),
        retry_delay_seconds=delays,
        retry_condition_fn=_has_transient_error,
    )


def title(paths: Paths, chosen: Mapping[str, Any]) -> str | None:
    """Return the name of a run with these parameters of the flow; None if they are not valid, as the run will report.

    The flow run and the run in MLflow have this name.
    """
    try:
        base = config.load(paths.params)
        return chosen.get("name") or run_names.title(base, parameters.values(base, chosen))
    except ConfigError:
        return None


@_step("resolve")
def resolve(paths: Paths, chosen: Mapping[str, Any], options: RunOptions) -> RunPlan:
    """Resolve the external inputs of a run to fixed values: the data set within reach, feedback, ensemble members.

    The golden set is the one in MLflow, whichever machine has drawn it.

    Args:
        paths: of the checkout.
        chosen: parameters of the flow.
        options: what else was chosen for this run.

    Raises:
        ConfigError: a parameter is not valid, the family cannot learn from the data, or the signing key cannot sign the
            version afterwards.
        RegistryError: the golden set is not signed by the signing key, or was altered.
        MirrorsExhausted: no mirror has the data set, and no fallback is configured.
        MnistflowError: another external input is missing.
    """
    if key := os.environ.get(environment.SIGNING_KEY):
        signature.require_private_key(Path(key))
    base = config.load(paths.params)
    values = parameters.values(base, chosen)
    golden_sets.synchronize(paths, base.with_values(values).fetch.dataset)
    plan = run_plan.resolve(paths, base, values, options)
    if key:
        golden_sets.check_signature(paths, plan.dataset, Path(key))
    if plan.is_fallback:
        get_run_logger().warning(fetch.fallback_warning(plan.requested_dataset, plan.dataset))
    for warning in plan.warnings:
        get_run_logger().warning(warning)
    return plan


@_step("reconcile")
def reconcile(paths: Paths, dataset: str, experiment: str) -> None:
    """Complete what killed runs have left undone in MLflow and in the model repository."""
    for name in {dataset, experiment}:
        runs.close_dead_runs(name)
    if reconciliation.reconcile(paths, versions.model_name(dataset)):
        get_run_logger().info("the champion of MLflow is published")


@_step("check_remote")
def check_remote(pipeline: Pipeline) -> None:
    """Check that DVC's remote can be written, before anything is computed for it."""
    pipeline.check_remote()


@_step("{stage}")
def run_stage(pipeline: Pipeline, stage: str) -> StageOutcome:
    """Run one stage of dvc.yaml."""
    outcome = pipeline.run(stage)
    result = "done" if outcome.executed else "unchanged, from the cache"
    get_run_logger().info("%s: %s (%.1f s)", stage, result, outcome.seconds)
    return outcome


@_step("record")
def record(workspace: Paths, run: LazyRun, settings: Config) -> Evaluation:
    """Log the finished pipeline to MLflow."""
    return run_record.record(workspace, run.start(), settings)


@_step("find_registered")
def find_registered(dataset: str, evaluation: Evaluation) -> Version | None:
    """Return the version that was registered with the very same ONNX file."""
    return versions.registered_as(versions.model_name(dataset), evaluation.model_sha256)


@_step("register")
def register(workspace: Paths, run: LazyRun, evaluation: Evaluation) -> Version:
    """Register the exported model, unless it is registered already."""
    reference.log(workspace, run.start())  # first, so that no version is without
    documents = bundle.log(run.start(), evaluation)
    version = registration.register_candidate(workspace, run.start(), evaluation, documents)
    if key := os.environ.get(environment.SIGNING_KEY):
        version = signature.sign(workspace, version, Path(key))
    get_run_logger().info("%s version %d", version.name, version.number)
    return version


@_step("find_champion")
def find_champion(name: str) -> Version | None:
    """Return the version of a registered model that serves."""
    return versions.version_of_alias(name, versions.CHAMPION)


@_step("acquire_lease")
def acquire_lease(name: str) -> Lease:
    """Wait until no other process, on any machine, decides about a registered model; return the lease on it."""
    return reconciliation.acquire_lease(name)


@_step("compare")
def compare(workspace: Paths, version: Version, evaluation: Evaluation, policy: GateConfig) -> Judgement:
    """Judge the candidate against the champion and store the verdict with the version."""
    judgement = judge(workspace, version, evaluation, policy)
    record_verdict(workspace, version, judgement, evaluation, policy)
    earlier = "as decided before, " if judgement.recorded else ""
    get_run_logger().info("%s%s: %s", earlier, judgement.verdict.decision, "; ".join(judgement.verdict.reasons))
    return judgement


@_step("publish")
def publish(workspace: Paths, version: Version, judgement: Judgement) -> None:
    """Publish the version to the model repository, as the verdict demands."""
    promotion.apply(workspace, version, judgement)


@_step("send_lineage")
def send_lineage(paths: Paths, version: Version) -> None:
    """Send the version's OpenLineage event, if an address is configured; the run goes on without."""
    if not open_lineage.is_wanted():
        return
    try:
        with errors.in_one_line():
            open_lineage.send(lineage_graph.trace(paths, version.name, version.number))
    except MnistflowError as error:
        get_run_logger().warning("%s", error)


@_step("look")
def look(paths: Paths, dataset: str | None) -> Look:
    """Compare the traffic since the last look with the champion's reference."""
    settings = config.load(paths.params)
    chosen = dataset_choice.choose(paths, settings.fetch, dataset)
    taken = looks.run(paths, chosen, settings.monitor, environment.inference_log(), datetime.now(UTC))
    get_run_logger().info(taken.summary)
    return taken


@_step("watch")
def watch(paths: Paths, dataset: str | None) -> Watch | None:
    """Compare the version that the gate promoted last with the one before it, and roll it back if it is worse."""
    settings = config.load(paths.params)
    chosen = dataset_choice.choose(paths, settings.fetch, dataset)
    log = environment.inference_log()
    found = promotion_watch.advance(paths, chosen, settings.monitor, log, datetime.now(UTC), lifecycle.notify)
    get_run_logger().info("watch: %s", found or "no promotion")
    return found


@_step("respond")
def respond(paths: Paths, dataset: str | None) -> Step:
    """Take the next step after a look: submit a retraining, notify a person, or nothing."""
    settings = config.load(paths.params)
    step = response.respond(paths, dataset_choice.choose(paths, settings.fetch, dataset), settings, datetime.now(UTC))
    get_run_logger().info("%s: %s", step.kind, step.reason)
    return step


@_step("collect_garbage")
def collect_garbage(paths: Paths) -> tuple[Garbage, ...]:
    """Remove what `mnistflow gc` lists, if `gc.automatic` is set; return what was removed."""
    retention, now = config.load(paths.params).gc, datetime.now(UTC)
    if not retention.automatic:
        return ()
    log = environment.inference_log()
    collected = tuple(garbage_collection.collect(paths, retention, log, now, delete=True))
    for kind in collected:
        get_run_logger().info("%s: %d removed", kind.kind, kind.count)
    return collected


@_step("check_up")
def check_up(paths: Paths, dataset: str | None) -> Checkup:
    """Repair what a command can repair; return what was wrong and what is left."""
    settings = config.load(paths.params)
    name = dataset_choice.choose_model(paths, settings.fetch, dataset)
    found = checkup.check(paths, name, settings.gc, repair=True)
    get_run_logger().info(found.summary)
    return found


@_step("push")
def push(pipeline: Pipeline) -> int:
    """Copy data and models to DVC's remote; return how many files were new there."""
    pushed = pipeline.push()
    get_run_logger().info("%d new files in the remote", pushed)
    return pushed
