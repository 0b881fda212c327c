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
from mnistflow import lineage, splits, tasks
from mnistflow.arrays import Outputs
from mnistflow.errors import RegistryError
from mnistflow.evaluation.evaluate import Evaluation
from mnistflow.paths import Paths
from mnistflow.registry import gate, publisher, versions
from mnistflow.registry.config import GateConfig
from mnistflow.registry.gate import Comparison, Verdict
from mnistflow.registry.publisher import Rollout
from mnistflow.registry.versions import Version
from mnistflow.runtime import onnx_session
from mnistflow.splits import Dataset
from mnistflow.tracking import runs


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


def register(workspace: Paths, run: runs.Run, evaluation: Evaluation) -> Version:
    """Register the exported model of a workspace, unless the very same file is registered already."""
    data = splits.load(workspace.prepared)
    name = versions.model_name(data.name)
    known = versions.registered_as(name, evaluation.model_sha256)
    if known:
        return known
    signature = tasks.get(data.task).signature(data.input_shape, data.classes)
    model_json: dict[str, Any] = {
        "name": name,
        "task": data.task,
        "dataset": data.name,
        "classes": list(data.classes),
        **publisher.describe(signature),
        "sha256": evaluation.model_sha256,
        "data_sha256": data.data_sha256,
        "metrics": {**evaluation.metrics, **evaluation.speed},
        "run_id": run.run_id,
        "git_commit": lineage.git_commit(workspace.checkout),
        "created": _now(),
        "mnistflow_version": mnistflow.__version__,
    }
    example = data.test.inputs[: versions.PROBE_ROWS]
    return versions.register(run, name, workspace.exported / "model.onnx", example, model_json)


def judge(workspace: Paths, version: Version, evaluation: Evaluation, policy: GateConfig) -> Judgement:
    """Compare a registered candidate with the champion on the workspace's test split; change nothing.

    The champion itself keeps the verdict it was given. What was replaced by hand does not come back by itself.

    Raises:
        RegistryError: the champion's files cannot be had.
    """
    data = splits.load(workspace.prepared)
    champion = versions.holder(version.name, versions.CHAMPION)
    if champion and champion.number == version.number:
        return Judgement(Verdict(version.decision, version.reasons), None, recorded=True)
    comparison = _compare(workspace, data, champion) if champion else None
    verdict = gate.decide(evaluation, tasks.get(data.task).headline, comparison, policy)
    if version.is_overruled and verdict.decision == "promote":
        way_back = f"it was replaced by hand: only `mnistflow promote {version.number}` brings it back"
        verdict = Verdict("hold", (way_back, *verdict.reasons))
    return Judgement(verdict, comparison)


def _compare(workspace: Paths, data: Dataset, champion: Version) -> Comparison:
    import numpy as np

    task = tasks.get(data.task)
    with np.load(workspace.evaluated / "predictions.npz") as arrays:
        candidate: Outputs = arrays["outputs"]
    with tempfile.TemporaryDirectory(dir=workspace.var) as folder:
        session = onnx_session.open_session(versions.download(champion, Path(folder)).model)
        outputs = onnx_session.predict(session, data.test.inputs)
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
    versions.note_decision(version, judgement.verdict.decision, judgement.verdict.reasons, evidence)


def apply(paths: Paths, version: Version, verdict: Verdict) -> None:
    """Publish a version and let it serve, or keep it as challenger; a rejected one is not published."""
    if versions.CHAMPION in version.aliases:
        reconcile(paths, version.name)
    elif verdict.decision == "promote":
        make_champion(paths, version, "gate")
    elif verdict.decision == "hold":
        publisher.publish(paths, version)
        versions.keep_as_challenger(version)
    else:
        versions.keep_as_challenger(version)


def make_champion(paths: Paths, version: Version, by: str) -> None:
    """Publish a version, move the alias, then the repository's pointer; `by` is kept as a trace."""
    publisher.publish(paths, version)
    if version.number != publisher.champion(paths, version.name):
        versions.crown(version)
        versions.trace(version, f"{_now()} became champion by {by}")
    publisher.serve(paths, version)
    rollout = publisher.rollout(paths, version.name)
    if rollout and rollout.challenger == version.number:
        publisher.try_out(paths, version.name, None)


def promote(paths: Paths, name: str, number: int) -> Version:
    """Make a version champion by hand, whatever the gate said.

    Raises:
        RegistryError: there is no such version, or its files are gone.
    """
    version = versions.find(name, number)
    _overrule(paths, version, "hand")
    return version


def rollback(paths: Paths, name: str) -> Version:
    """Let the version serve again that served before the champion, which becomes the challenger if there is none.

    Raises:
        RegistryError: none did.
    """
    previous = versions.holder(name, versions.PREVIOUS)
    if not previous:
        raise RegistryError(f"{name} has no previous champion", "`mnistflow promote VERSION` names one.")
    replaced = _overrule(paths, previous, "rollback")
    if replaced and not versions.holder(name, versions.CHALLENGER):
        versions.keep_as_challenger(replaced)
    return previous


def _overrule(paths: Paths, version: Version, by: str) -> Version | None:
    """Make a version champion whatever the gate said, and return the one that it replaces."""
    champion = versions.holder(version.name, versions.CHAMPION)
    replaced = champion if champion and champion.number != version.number else None
    if replaced:
        versions.overrule(replaced, True)
    versions.overrule(version, False)
    make_champion(paths, version, by)
    return replaced


def try_out(paths: Paths, name: str, *, canary: float | None = None, shadow: bool | None = None) -> Rollout | None:
    """Let servers try the challenger beside the champion, or end that; None leaves a setting as it is.

    What is tried stays the same version until all of it has ended, whoever has become the challenger meanwhile.

    Args:
        canary: share of the requests that it answers, 0 to 1.
        shadow: whether it gets a copy of the others.

    Raises:
        RegistryError: there is no champion or no challenger, its files are gone, or another version is tried.
    """
    now = publisher.rollout(paths, name) or Rollout(0)
    wanted = replace(
        now, canary=now.canary if canary is None else canary, shadow=now.shadow if shadow is None else shadow
    )
    if not wanted.canary and not wanted.shadow:
        publisher.try_out(paths, name, None)
        return None
    if canary or shadow:
        challenger = _challenger(name)
        if now.challenger not in (0, challenger.number):
            raise RegistryError(
                f"version {now.challenger} is tried, and the challenger is version {challenger.number} now",
                "First `mnistflow canary off` and `mnistflow shadow off`.",
            )
        publisher.publish(paths, challenger)
        wanted = replace(wanted, challenger=challenger.number)
    publisher.try_out(paths, name, wanted)
    return wanted


def _challenger(name: str) -> Version:
    if not versions.holder(name, versions.CHAMPION):
        raise RegistryError(
            f"{name} has no champion beside which to try another", "`mnistflow promote VERSION` makes one."
        )
    challenger = versions.holder(name, versions.CHALLENGER)
    if not challenger:
        raise RegistryError(f"{name} has no challenger to try", "The next version that does not win becomes one.")
    return challenger


def reconcile(paths: Paths, name: str) -> bool:
    """Let the repository serve the registry's champion, undamaged; return whether it did not.

    A run killed between the move of the alias and that of the pointer leaves the old champion serving until then.
    """
    champion = versions.holder(name, versions.CHAMPION)
    if not champion:
        return False
    serves = publisher.champion(paths, name) == champion.number
    if serves and publisher.is_whole(paths, name, champion.number):
        return False
    publisher.publish(paths, champion)
    publisher.serve(paths, champion)
    return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
