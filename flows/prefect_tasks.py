"""The steps of the flows as Prefect tasks. Prefect caches nothing: DVC alone decides what is up to date."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger
from prefect.tasks import Task

from mnistflow import config
from mnistflow.config import Config
from mnistflow.data import fetch
from mnistflow.errors import MirrorsExhausted
from mnistflow.evaluation.evaluate import Evaluation
from mnistflow.paths import Paths
from mnistflow.pipeline import record as run_record
from mnistflow.pipeline import run_plan
from mnistflow.pipeline.pipeline import Pipeline
from mnistflow.pipeline.run_plan import RunPlan
from mnistflow.pipeline.stage_runner import StageCrashed, StageOutcome
from mnistflow.registry import promotion
from mnistflow.registry.config import GateConfig
from mnistflow.registry.promotion import Judgement
from mnistflow.registry.versions import Version
from mnistflow.tracking import runs

BACKOFF_SECONDS = [2.0, 10.0]


async def _may_pass(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Only what can go away by itself is tried again; a wrong parameter stays wrong."""
    error = await state.aresult(raise_on_failure=False)
    return isinstance(error, MirrorsExhausted | StageCrashed | ConnectionError | TimeoutError)


@task(cache_policy=NO_CACHE, task_run_name="resolve")
def resolve(paths: Paths, overrides: dict[str, Any]) -> RunPlan:
    """Resolve the external inputs of a run to fixed values: the data set within reach, feedback, ensemble members."""
    plan = run_plan.resolve(paths, config.load(paths.params), overrides)
    if plan.is_fallback:
        get_run_logger().warning(fetch.fallback_warning(plan.requested_dataset, plan.dataset))
    return plan


@task(
    cache_policy=NO_CACHE,
    task_run_name="{stage}",
    retries=len(BACKOFF_SECONDS),
    retry_delay_seconds=BACKOFF_SECONDS,
    retry_condition_fn=_may_pass,
)
def run_stage(pipeline: Pipeline, stage: str) -> StageOutcome:
    """Run one stage of dvc.yaml."""
    outcome = pipeline.run(stage)
    what = "done" if outcome.executed else "unchanged, from the cache"
    get_run_logger().info("%s: %s (%.1f s)", stage, what, outcome.seconds)
    return outcome


@task(cache_policy=NO_CACHE, task_run_name="record", retries=1, retry_delay_seconds=5, retry_condition_fn=_may_pass)
def record(workspace: Paths, run: runs.Run, settings: Config) -> Evaluation:
    """Log the finished pipeline to MLflow."""
    return run_record.record(workspace, run, settings)


@task(cache_policy=NO_CACHE, task_run_name="register", retries=1, retry_delay_seconds=5, retry_condition_fn=_may_pass)
def register(workspace: Paths, run: runs.Run, evaluation: Evaluation) -> Version:
    """Register the exported model, unless it is registered already."""
    version = promotion.register(workspace, run, evaluation)
    get_run_logger().info("%s version %d", version.name, version.number)
    return version


@task(cache_policy=NO_CACHE, task_run_name="compare")
def compare(workspace: Paths, version: Version, evaluation: Evaluation, policy: GateConfig) -> Judgement:
    """Judge the candidate against the champion and keep the verdict with the version."""
    judgement = promotion.judge(workspace, version, evaluation, policy)
    promotion.note(version, judgement, evaluation)
    said = "the verdict stands, " if judgement.recorded else ""
    get_run_logger().info("%s%s: %s", said, judgement.verdict.decision, "; ".join(judgement.verdict.reasons))
    return judgement


@task(cache_policy=NO_CACHE, task_run_name="publish", retries=1, retry_delay_seconds=5, retry_condition_fn=_may_pass)
def publish(workspace: Paths, version: Version, judgement: Judgement) -> None:
    """Bring the verdict into the model repository."""
    promotion.apply(workspace, version, judgement.verdict)


@task(cache_policy=NO_CACHE, task_run_name="push", retries=1, retry_delay_seconds=5, retry_condition_fn=_may_pass)
def push(pipeline: Pipeline) -> int:
    """Copy data and models to DVC's remote."""
    pushed = pipeline.push()
    get_run_logger().info("%d new files in the remote", pushed)
    return pushed
