"""The retrain flow: from raw data to the model that serves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows import report, tasks
from mnistflow import config, environment, pipeline, promotion, registry, stage_runner, tracking
from mnistflow.config import Config
from mnistflow.evaluate import Evaluation
from mnistflow.gate import Verdict
from mnistflow.learners.learner import WATCHED
from mnistflow.pipeline import Pipeline, StageOutcome
from mnistflow.project import Project
from mnistflow.registry import Version


@dataclass(frozen=True)
class Outcome:
    """What a retraining came to.

    Attributes:
        stages: what became of each.
        run_id: MLflow run of the version.
        registered: whether the version is new; otherwise its very file was registered before.
        opponent: the champion that the version was compared with; None if there was none, or it is the champion.
        champion: number of the version that serves now.
    """

    dataset: str
    stages: tuple[StageOutcome, ...]
    run_id: str
    registered: bool
    version: Version
    evaluation: Evaluation
    verdict: Verdict
    opponent: Version | None
    champion: int | None

    @property
    def changed(self) -> bool:
        """Whether there is a new version, or any stage had to run."""
        return self.registered or any(stage.executed for stage in self.stages)


@flow(name="retrain", log_prints=False)
def retrain(overrides: dict[str, Any] | None = None) -> Outcome:
    """Fetch, prepare, tune, train, export, evaluate, register, compare, promote or hold, publish.

    Args:
        overrides: parameters for this run only, by dotted key.
    """
    home = Project.locate()
    environment.configure(home)
    base = config.load(home.params)
    settings = base.with_values(overrides or {})
    pinned = tasks.choose_dataset(home, settings)
    dataset = pinned.get("fetch.dataset", settings.fetch.dataset)
    workspace = pipeline.create_workspace(home, {**(overrides or {}), **pinned})
    tracking.close_dead_runs(home, dataset)
    promotion.reconcile(home, registry.model_name(dataset))
    run = tracking.start(home, dataset, _run_name(base, settings, overrides or {}), kind="retrain")
    with pipeline.tidied(workspace):
        with tracking.finished(run), tracking.system_metrics(run, after=WATCHED):
            outcome = _run_in(workspace, settings, run, dataset)
        if not outcome.changed:
            # Nothing happened that is not recorded already.
            tracking.client().delete_run(run.run_id)
        if not overrides:
            pipeline.bring_home(workspace)
    create_markdown_artifact(report.markdown(outcome, home), key="retrain", description=report.headline(outcome))
    return outcome


def _run_in(workspace: Project, settings: Config, run: tracking.Run, dataset: str) -> Outcome:
    with stage_runner.beside(settings.train) as runner:
        steps = Pipeline(workspace, runner, run.run_id)
        stages = tuple(tasks.run_stage(steps, stage) for stage in pipeline.STAGES)
    evaluation = tasks.record(workspace, run)
    version = tasks.register(workspace, run, evaluation)
    opponent = registry.holder(version.name, registry.CHAMPION)
    judgement = tasks.compare(workspace, version, evaluation, settings)
    tasks.publish(workspace, version, judgement)
    tasks.push(steps)
    champion = registry.holder(version.name, registry.CHAMPION)
    return Outcome(
        dataset=dataset,
        stages=stages,
        run_id=version.run_id,
        registered=version.run_id == run.run_id,
        version=version,
        evaluation=evaluation,
        verdict=judgement.verdict,
        opponent=opponent if opponent and opponent.number != version.number else None,
        champion=champion.number if champion else None,
    )


def _run_name(base: Config, settings: Config, overrides: Mapping[str, Any]) -> str:
    """The family, the preset if one was asked for, and what else the overrides changed, in their order."""
    candidates = [
        [name, *_changes(base.with_values(values), settings, overrides)]
        for name, values in base.presets.items()
        if values and values.keys() <= overrides.keys()
    ]
    candidates.append(_changes(base, settings, overrides))
    return " ".join([settings.model.family, *min(candidates, key=len)])[:100]


def _changes(before: Config, after: Config, overrides: Mapping[str, Any]) -> list[str]:
    """Return what the overrides changed, a leaf each; the sections `model` and `train` go without saying."""
    old, new = before.entries(), after.entries()
    changed = [key for key, value in new.items() if not isinstance(value, dict) and value != old.get(key)]
    ordered = dict.fromkeys(key for given in overrides for key in changed if f"{key}.".startswith(f"{given}."))
    ordered.pop("model.family", None)
    return [f"{_short(key)}={new[key]}" for key in ordered]


def _short(key: str) -> str:
    return key.rpartition(".")[2] if key.startswith(("model.", "train.")) else key
