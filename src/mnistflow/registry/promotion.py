"""Promotion: register a candidate, compare it with the champion, promote, hold or reject it, publish, roll back.

The order makes a kill harmless: a version is published before any alias moves, and `reconciliation` lets the
repository follow the registry. One process at a time decides about a model, on whichever machine.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mnistflow
from mnistflow import splits, tasks
from mnistflow.arrays import Outputs
from mnistflow.checkout import lineage
from mnistflow.data import catalog
from mnistflow.errors import RegistryError
from mnistflow.evaluation.evaluate import Evaluation
from mnistflow.paths import Paths
from mnistflow.registry import (
    aliases,
    alpha_spending,
    descriptions,
    gate,
    history,
    manifest,
    publisher,
    reconciliation,
    registration,
    versions,
)
from mnistflow.registry.config import GateConfig
from mnistflow.registry.descriptions import Origin
from mnistflow.registry.gate import Comparison, Verdict
from mnistflow.registry.manifest import Manifest
from mnistflow.registry.versions import Version
from mnistflow.runtime import onnx_session
from mnistflow.splits import Dataset
from mnistflow.tasks.doubt import Doubt
from mnistflow.tracking import runs

EVIDENCE = "gate/evidence.json"  # artifact of the run


@dataclass(frozen=True)
class Judgement:
    """A verdict with its evidence.

    Attributes:
        opponent: number of the champion; None without one.
        comparison: with the champion; None if the version keeps the verdict already, or there is no champion.
        recorded: whether the version keeps this verdict already.
    """

    verdict: Verdict
    opponent: int | None
    comparison: Comparison | None = None
    recorded: bool = False


def register(workspace: Paths, run: runs.Run, evaluation: Evaluation, bundle: Sequence[str] = ()) -> Version:
    """Register the exported model of a workspace, unless the very same file is registered already.

    Args:
        workspace: that of the model.
        run: the run that has trained it.
        evaluation: of the model.
        bundle: names of the documents about the model that the run has.
    """
    data = splits.load(workspace.prepared)
    name = versions.model_name(data.name)
    known = versions.registered_as(name, evaluation.model_sha256)
    if known:
        return known
    signature = tasks.get(data.task).signature(data.input_shape, data.classes)
    facts = Manifest(
        name=name,
        task=data.task,
        dataset=data.name,
        classes=data.classes,
        **manifest.tensors(signature),
        preprocessing=catalog.described(data.name, data.classes).preprocessing,
        sha256=evaluation.model_sha256,
        data_sha256=data.data_sha256,
        metrics={**evaluation.metrics, **evaluation.speed},
        doubt=Doubt.read(workspace.exported),
        run_id=run.run_id,
        git_commit=lineage.git_commit(workspace.checkout),
        created=_now(),
        mnistflow_version=mnistflow.__version__,
    )
    example = data.test.inputs[: registration.PROBE_ROWS]
    version = registration.register(run, workspace.exported / "model.onnx", workspace.trained, example, facts, bundle)
    registration.describe_model(name, descriptions.of_model(facts))
    note = descriptions.of_run(runs.read(run.run_id), name, version.number)
    run.set_tags({runs.VERSION: f"{name}/{version.number}", runs.NOTE: note})
    return version


def judge(workspace: Paths, version: Version, evaluation: Evaluation, policy: GateConfig) -> Judgement:
    """Compare a registered candidate with the champion on the workspace's test split; change nothing.

    The champion itself keeps its verdict, and so does a version that was judged against the same champion before, under
    the same policy. A version that was rolled back or replaced by hand is held, however good it is, and so is another
    one with the same weights.

    Raises:
        RegistryError: the artifact store does not have the champion's files.
    """
    champion = versions.version_of_alias(version.name, versions.CHAMPION)
    opponent = champion.number if champion else None
    if opponent == version.number or version.verdict_key == _verdict_key(version, opponent, evaluation, policy):
        return Judgement(Verdict(version.decision, version.reasons), opponent, recorded=True)
    data = splits.load(workspace.prepared)
    level = alpha_spending.next_level(policy.significance, alpha_spending.spent(version.name), datetime.now(UTC))
    comparison = _compare(workspace, data, champion, level) if champion else None
    verdict = gate.decide(evaluation, tasks.get(data.task).headline, comparison, policy)
    if verdict.decision == "promote" and (overruled := versions.overruled(version)):
        which = "it" if overruled == version else f"version {overruled.number}, which has the same weights,"
        reason = (
            f"{which} was rolled back or replaced by hand: only `mnistflow promote {version.number}` brings it back"
        )
        verdict = Verdict("hold", (reason, *verdict.reasons))
    return Judgement(verdict, opponent, comparison)


def judge_again(workspace: Paths, name: str, evaluation: Evaluation, evidence: Mapping[str, Any]) -> Verdict:
    """Return the gate's verdict on a workspace's model under recorded circumstances; change nothing.

    Args:
        workspace: that of the model, which need not be registered.
        name: registered name of the models that it is one of.
        evaluation: of the model.
        evidence: of the recorded verdict; names the champion, the level of the comparison and the policy.

    Raises:
        RegistryError: the registry or the artifact store does not have that champion.
    """
    data = splits.load(workspace.prepared)
    policy = GateConfig.validated(evidence["policy"], "the recorded policy of the gate")
    recorded = evidence["champion"]
    comparison = (
        _compare(workspace, data, versions.find(name, recorded["version"]), recorded["level"]) if recorded else None
    )
    return gate.decide(evaluation, tasks.get(data.task).headline, comparison, policy)


def _compare(workspace: Paths, data: Dataset, champion: Version, level: float) -> Comparison:
    import numpy as np

    task = tasks.get(data.task)
    with np.load(workspace.evaluated / "predictions.npz") as arrays:
        candidate: Outputs = arrays["outputs"]
    with tempfile.TemporaryDirectory(dir=workspace.var) as folder:
        session = onnx_session.open_session(registration.download(champion, Path(folder)).model)
        outputs = onnx_session.predict(session, data.test.inputs)
    measured = task.measure(outputs, data.test.targets, data.classes, bins=1)
    return Comparison(
        version=champion.number,
        score=measured.metrics[task.headline.name],
        by_class=dict(measured.by_class),
        test=task.paired_test(candidate, outputs, data.test.targets),
        level=level,
        robustness=_recorded_robustness(champion, task.headline.name),
    )


def _recorded_robustness(champion: Version, headline: str) -> float | None:
    """Return the robustness that the champion's run recorded; None if it was measured under fewer corruptions."""
    metrics = runs.read(champion.run_id).metrics
    name = f"test_robust_{headline}"
    return metrics.get(name) if f"{name}.held_out" in metrics else None


def record_verdict(
    workspace: Paths, version: Version, judgement: Judgement, evaluation: Evaluation, policy: GateConfig
) -> None:
    """Keep the verdict with the version and its evidence with the run, unless they have them already.

    Args:
        workspace: that of the version's model.
        policy: the one that the version was judged under.
    """
    if judgement.recorded:
        return
    verdict = judgement.verdict
    evidence = {
        "version": version.number,
        "decision": verdict.decision,
        "reasons": verdict.reasons,
        "overruled": versions.overruled(version) is not None,
        "policy": policy.model_dump(mode="json"),
        "candidate": evaluation.metrics,
        "champion": asdict(judgement.comparison) if judgement.comparison else None,
        "test_sha256": evaluation.test_sha256,
        "decided": _now(),
    }
    if judgement.comparison and verdict.decision != "reject":  # a floor rejects without the paired test
        alpha_spending.record(version, judgement.comparison.level)
    runs.resume(version.run_id).log_json(evidence, EVIDENCE)
    origin = Origin.of(workspace, version)
    registration.describe(version, descriptions.of_version(version, origin, evaluation, verdict))
    key = _verdict_key(version, judgement.opponent, evaluation, policy)
    aliases.record_decision(version, verdict.decision, verdict.reasons, key)


def _verdict_key(version: Version, champion: int | None, evaluation: Evaluation, policy: GateConfig) -> str:
    """Return the digest of all that a verdict depends on besides the two models themselves."""
    facts = [champion, versions.overruled(version) is not None, evaluation.test_sha256, policy.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def apply(paths: Paths, version: Version, judgement: Judgement) -> None:
    """Publish a version and let it serve, or keep it as challenger; a rejected one becomes neither.

    The caller has had the lease on the model since it judged, see `reconciliation.decide`.

    Raises:
        RegistryError: the artifact store does not have its files, or the champion is not the one that it was compared
            with any more.
    """
    decision, champion = judgement.verdict.decision, versions.version_of_alias(version.name, versions.CHAMPION)
    number = champion.number if champion else None
    if number == version.number:
        reconciliation.follow(paths, version.name)
    elif decision == "promote":
        _publish(paths, version)
        _check_champion(version.name, judgement.opponent)
        make_champion(paths, version, "gate", "; ".join(judgement.verdict.reasons))
    elif decision == "hold":
        _publish(paths, version)
        aliases.set_challenger(version)


def make_champion(paths: Paths, version: Version, by: history.By, because: str = "") -> None:
    """Publish a version, move the alias `champion` to it, and let the repository follow.

    The caller has the lease on the model. A rollout of the same version ends.

    Args:
        because: the reason, which the history keeps with the user and the machine.

    Raises:
        RegistryError: the artifact store does not have its files.
    """
    _publish(paths, version)
    aliases.set_champion(version, by, because)
    reconciliation.follow(paths, version.name)


def promote(paths: Paths, name: str, number: int, because: str = "") -> Version:
    """Make a version champion by hand, whatever the gate has decided, and return the champion that MLflow then has.

    Args:
        because: the reason, for the history.

    Raises:
        RegistryError: there is no such version, the artifact store does not have its files, or something moved the
            alias at the same time.
    """
    with reconciliation.decide(name):
        version = versions.find(name, number)
        make_champion(paths, version, "hand", because)
        return _read_back(version)


def rollback(paths: Paths, name: str, because: str = "", replacing: int | None = None) -> Version:
    """Let the champion before the present one serve again; another rollback goes one further back.

    The version that is replaced becomes the challenger if there is none, unless the gate has rejected it. No later
    rollback returns to it.

    Args:
        because: the reason, for the history.
        replacing: the version to replace; None for whichever is champion.

    Raises:
        RegistryError: another version is champion, there is no earlier one, the artifact store does not have its files,
            or something moved the alias at the same time.
    """
    with reconciliation.decide(name):
        known = {version.number: version for version in versions.all_versions(name)}
        champion = next((number for number, version in known.items() if versions.CHAMPION in version.aliases), None)
        if replacing is not None:
            _check_champion(name, replacing)
        earlier = history.earlier_champion(known.values(), champion)
        if earlier is None:
            raise RegistryError(
                f"{name} has no earlier champion", "`mnistflow promote VERSION` makes a version champion."
            )
        _publish(paths, known[earlier])
        _check_champion(name, champion)
        make_champion(paths, known[earlier], "rollback", because)
        return _read_back(known[earlier])


def _publish(paths: Paths, version: Version) -> None:
    with publisher.locked(paths, version.name):
        publisher.publish(paths, version)


def _check_champion(name: str, expected: int | None) -> None:
    """Check that the champion is the one that was decided upon.

    Raises:
        RegistryError: it is another one: MLflow's UI has moved the alias, or this process was stopped for so long that
            another one took its lease.
    """
    champion = versions.version_of_alias(name, versions.CHAMPION)
    number = champion.number if champion else None
    if number != expected:
        raise RegistryError(
            f"the champion of {name} is {_called(number)} now, and was {_called(expected)} when this was decided",
            "Run the command again: it decides anew.",
        )


def _called(number: int | None) -> str:
    return f"version {number}" if number else "no version"


def _read_back(version: Version) -> Version:
    """Return the champion that MLflow has now, which is to be this version."""
    champion = versions.version_of_alias(version.name, versions.CHAMPION)
    if champion is None or champion.number != version.number:
        raise RegistryError(
            f"{version.name} version {version.number} was made champion, but the alias names "
            f"{_called(champion.number if champion else None)} now",
            "Something else has moved it: `mnistflow status` shows what is published.",
        )
    return champion


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
