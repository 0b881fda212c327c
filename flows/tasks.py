"""The steps of the flows as Prefect tasks. Prefect caches nothing: DVC alone decides what is up to date."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger
from prefect.tasks import Task

from mnistflow import promotion, recording, tracking, train
from mnistflow.config import Config
from mnistflow.data import fetch, prepare
from mnistflow.errors import MirrorsExhausted
from mnistflow.evaluate import Evaluation
from mnistflow.pipeline import Pipeline, StageCrashed, StageOutcome
from mnistflow.project import Project
from mnistflow.promotion import Judgement
from mnistflow.registry import Version

BACKOFF_SECONDS = [2.0, 10.0]


async def _may_pass(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Only what can go away by itself is tried again; a wrong parameter stays wrong."""
    error = await state.aresult(raise_on_failure=False)
    return isinstance(error, MirrorsExhausted | StageCrashed | ConnectionError | TimeoutError)


@task(cache_policy=NO_CACHE, task_run_name="choose the data set")
def choose_dataset(project: Project, config: Config) -> dict[str, Any]:
    """Return the parameters that name the data in reach, as configured or the declared fallback with a warning.

    With them goes what else makes definite what this run depends on: feedback, the members of an ensemble.
    """
    pinned = fetch.pin(config.fetch, project)
    if fallback := pinned.get("fetch.dataset"):
        get_run_logger().warning(fetch.fallback_warning(config.fetch.dataset, fallback))
    dataset = pinned.get("fetch.dataset", config.fetch.dataset)
    return {**pinned, **prepare.pin(config.prepare, project), **train.pin(config, dataset)}


@task(
    cache_policy=NO_CACHE,
    task_run_name="{stage}",
    retries=len(BACKOFF_SECONDS),
    retry_delay_seconds=BACKOFF_SECONDS,
    retry_condition_fn=_may_pass,
)
def run_stage(steps: Pipeline, stage: str) -> StageOutcome:
    """Run one stage of dvc.yaml."""
    outcome = steps.run(stage)
    what = "done" if outcome.executed else "unchanged, from the cache"
    get_run_logger().info("%s: %s (%.1f s)", stage, what, outcome.seconds)
    return outcome


@task(cache_policy=NO_CACHE, task_run_name="record", retries=1, retry_delay_seconds=5, retry_condition_fn=_may_pass)
def record(workspace: Project, run: tracking.Run) -> Evaluation:
    """Log the finished pipeline to MLflow."""
    return recording.record(workspace, run)


@task(cache_policy=NO_CACHE, task_run_name="register", retries=1, retry_delay_seconds=5, retry_condition_fn=_may_pass)
def register(workspace: Project, run: tracking.Run, evaluation: Evaluation) -> Version:
    """Register the exported model, unless it is registered already."""
    version = promotion.register(workspace, run, evaluation)
    get_run_logger().info("%s version %d", version.name, version.number)
    return version


@task(cache_policy=NO_CACHE, task_run_name="compare")
def compare(workspace: Project, version: Version, evaluation: Evaluation, config: Config) -> Judgement:
    """Judge the candidate against the champion and keep the verdict with the version."""
    judgement = promotion.judge(workspace, version, evaluation, config.gate)
    promotion.note(version, judgement, evaluation)
    said = "the verdict stands, " if judgement.recorded else ""
    get_run_logger().info("%s%s: %s", said, judgement.verdict.decision, "; ".join(judgement.verdict.reasons))
    return judgement


@task(cache_policy=NO_CACHE, task_run_name="publish", retries=1, retry_delay_seconds=5, retry_condition_fn=_may_pass)
def publish(workspace: Project, version: Version, judgement: Judgement) -> None:
    """Bring the verdict into the model repository."""
    promotion.apply(workspace, version, judgement.verdict)


@task(cache_policy=NO_CACHE, task_run_name="push", retries=1, retry_delay_seconds=5, retry_condition_fn=_may_pass)
def push(steps: Pipeline) -> int:
    """Copy data and models to DVC's remote."""
    pushed = steps.push()
    get_run_logger().info("%d new files in the remote", pushed)
    return pushed
