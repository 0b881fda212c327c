"""From a candidate to the model that serves: register, compare, promote or hold, publish, and back again.

The order makes a kill harmless: a version's folder is published whole before any alias moves, and `reconcile` brings
the repository's pointer to where the alias already is.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mnistflow
from mnistflow import gate, lineage, onnx_model, registry, repository, tasks, tracking
from mnistflow.config import GateConfig
from mnistflow.data import splits
from mnistflow.data.splits import Dataset
from mnistflow.errors import RegistryError
from mnistflow.evaluate import Evaluation
from mnistflow.gate import Comparison, Verdict
from mnistflow.project import Project
from mnistflow.registry import Version
from mnistflow.repository import Rollout
from mnistflow.tasks.task import Outputs


@dataclass(frozen=True)
class Judgement:
    """A verdict with the evidence it rests on.

    Attributes:
        comparison: None without a champion.
        recorded: whether the verdict was kept with the version before.
    """

    verdict: Verdict
    comparison: Comparison | None
    recorded: bool = False


def register(workspace: Project, run: tracking.Run, evaluation: Evaluation) -> Version:
    """Register the exported model of a workspace, unless the very same file is registered already."""
    data = splits.load(workspace.prepared)
    name = registry.model_name(data.name)
    known = registry.registered_as(name, evaluation.model_sha256)
    if known:
        return known
    signature = tasks.get(data.task).signature(data.input_shape, data.classes)
    model_json: dict[str, Any] = {
        "name": name,
        "task": data.task,
        "dataset": data.name,
        "classes": list(data.classes),
        **repository.describe(signature),
        "sha256": evaluation.model_sha256,
        "data_sha256": data.data_sha256,
        "metrics": {**evaluation.metrics, **evaluation.speed},
        "run_id": run.run_id,
        "git_commit": lineage.git_commit(workspace.home),
        "created": _now(),
        "mnistflow_version": mnistflow.__version__,
    }
    example = data.test.inputs[: registry.PROBE_ROWS]
    return registry.register(run, name, workspace.exported / "model.onnx", example, model_json)


def judge(workspace: Project, version: Version, evaluation: Evaluation, policy: GateConfig) -> Judgement:
    """Compare a registered candidate with the champion on the workspace's test split; change nothing.

    The champion itself keeps the verdict it was given. What was replaced by hand does not come back by itself.

    Raises:
        RegistryError: the champion's files cannot be had.
    """
    data = splits.load(workspace.prepared)
    champion = registry.holder(version.name, registry.CHAMPION)
    if champion and champion.number == version.number:
        return Judgement(Verdict(version.decision, version.reasons), None, recorded=True)
    comparison = _compare(workspace, data, champion) if champion else None
    verdict = gate.decide(evaluation, tasks.get(data.task).headline, comparison, policy)
    if version.is_overruled and verdict.decision == "promote":
        way_back = f"it was replaced by hand: only `mnistflow promote {version.number}` brings it back"
        verdict = Verdict("hold", (way_back, *verdict.reasons))
    return Judgement(verdict, comparison)


def _compare(workspace: Project, data: Dataset, champion: Version) -> Comparison:
    import numpy as np

    task = tasks.get(data.task)
    with np.load(workspace.evaluated / "predictions.npz") as arrays:
        candidate: Outputs = arrays["outputs"]
    with tempfile.TemporaryDirectory(dir=workspace.var) as folder:
        session = onnx_model.open_session(registry.download(champion, Path(folder)).model)
        outputs = onnx_model.predict(session, data.test.inputs)
    measured = task.measure(outputs, data.test.targets, data.classes, bins=1)
    return Comparison(
        version=champion.number,
        score=measured.metrics[task.headline.name],
        by_class=dict(measured.by_class),
        test=task.paired_test(candidate, outputs, data.test.targets),
    )


def note(version: Version, judgement: Judgement, evaluation: Evaluation) -> None:
    """Keep the verdict and its evidence with the version, unless it is kept already."""
    if judgement.recorded:
        return
    evidence = {
        "candidate": evaluation.metrics,
        "champion": asdict(judgement.comparison) if judgement.comparison else None,
        "test_sha256": evaluation.test_sha256,
        "decided": _now(),
    }
    registry.note_decision(version, judgement.verdict.decision, judgement.verdict.reasons, evidence)


def apply(project: Project, version: Version, verdict: Verdict) -> None:
    """Publish a version and let it serve, or keep it as challenger; a rejected one is not published."""
    if registry.CHAMPION in version.aliases:
        reconcile(project, version.name)
    elif verdict.decision == "promote":
        make_champion(project, version, "gate")
    elif verdict.decision == "hold":
        repository.publish(project, version)
        registry.keep_as_challenger(version)
    else:
        registry.keep_as_challenger(version)


def make_champion(project: Project, version: Version, by: str) -> None:
    """Publish a version, move the alias, then the repository's pointer; `by` is kept as a trace."""
    repository.publish(project, version)
    if version.number != repository.champion(project, version.name):
        registry.crown(version)
        registry.trace(version, f"{_now()} became champion by {by}")
    repository.serve(project, version)
    rollout = repository.rollout(project, version.name)
    if rollout and rollout.challenger == version.number:
        repository.try_out(project, version.name, None)


def promote(project: Project, name: str, number: int) -> Version:
    """Make a version champion by hand, whatever the gate said.

    Raises:
        RegistryError: there is no such version, or its files are gone.
    """
    version = registry.find(name, number)
    _overrule(project, version, "hand")
    return version


def rollback(project: Project, name: str) -> Version:
    """Let the version serve again that served before the champion, which becomes the challenger if there is none.

    Raises:
        RegistryError: none did.
    """
    previous = registry.holder(name, registry.PREVIOUS)
    if not previous:
        raise RegistryError(f"{name} has no previous champion", "`mnistflow promote VERSION` names one.")
    replaced = _overrule(project, previous, "rollback")
    if replaced and not registry.holder(name, registry.CHALLENGER):
        registry.keep_as_challenger(replaced)
    return previous


def _overrule(project: Project, version: Version, by: str) -> Version | None:
    """Make a version champion whatever the gate said, and return the one that it replaces."""
    champion = registry.holder(version.name, registry.CHAMPION)
    replaced = champion if champion and champion.number != version.number else None
    if replaced:
        registry.overrule(replaced, True)
    registry.overrule(version, False)
    make_champion(project, version, by)
    return replaced


def try_out(project: Project, name: str, *, canary: float | None = None, shadow: bool | None = None) -> Rollout | None:
    """Let servers try the challenger beside the champion, or end that; None leaves a setting as it is.

    What is tried stays the same version until all of it has ended, whoever has become the challenger meanwhile.

    Args:
        canary: share of the requests that it answers, 0 to 1.
        shadow: whether it gets a copy of the others.

    Raises:
        RegistryError: there is no champion or no challenger, its files are gone, or another version is tried.
    """
    now = repository.rollout(project, name) or Rollout(0)
    wanted = replace(
        now, canary=now.canary if canary is None else canary, shadow=now.shadow if shadow is None else shadow
    )
    if not wanted.canary and not wanted.shadow:
        repository.try_out(project, name, None)
        return None
    if canary or shadow:
        challenger = _challenger(name)
        if now.challenger not in (0, challenger.number):
            raise RegistryError(
                f"version {now.challenger} is tried, and the challenger is version {challenger.number} now",
                "First `mnistflow canary off` and `mnistflow shadow off`.",
            )
        repository.publish(project, challenger)
        wanted = replace(wanted, challenger=challenger.number)
    repository.try_out(project, name, wanted)
    return wanted


def _challenger(name: str) -> Version:
    if not registry.holder(name, registry.CHAMPION):
        raise RegistryError(
            f"{name} has no champion beside which to try another", "`mnistflow promote VERSION` makes one."
        )
    challenger = registry.holder(name, registry.CHALLENGER)
    if not challenger:
        raise RegistryError(f"{name} has no challenger to try", "The next version that does not win becomes one.")
    return challenger


def reconcile(project: Project, name: str) -> bool:
    """Let the repository serve the registry's champion, undamaged; return whether it did not.

    A run killed between the move of the alias and that of the pointer leaves the old champion serving until then.
    """
    champion = registry.holder(name, registry.CHAMPION)
    if not champion:
        return False
    serves = repository.champion(project, name) == champion.number
    if serves and repository.is_whole(project, name, champion.number):
        return False
    repository.publish(project, champion)
    repository.serve(project, champion)
    return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
