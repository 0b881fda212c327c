"""Judgement: the gate's verdict on a registered candidate, from its workspace, and its record in MLflow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from mnistflow import splits, tasks
from mnistflow.evaluation.evaluate import Evaluation
from mnistflow.paths import Paths
from mnistflow.registry import aliases, descriptions, registration, versions
from mnistflow.registry.descriptions import Origin
from mnistflow.registry.gate import alpha_spending
from mnistflow.registry.gate.comparison import compare
from mnistflow.registry.gate.config import GateConfig
from mnistflow.registry.gate.verdict import Comparison, Verdict, decide
from mnistflow.registry.versions import Version
from mnistflow.tracking import runs

EVIDENCE = "gate/evidence.json"  # artifact of the run


@dataclass(frozen=True)
class Judgement:
    """A verdict with its evidence.

    Attributes:
        opponent: number of the champion; None without one.
        comparison: with the champion; None if the version has the verdict already, or there is no champion.
        recorded: whether the version has this verdict already.
    """

    verdict: Verdict
    opponent: int | None
    comparison: Comparison | None = None
    recorded: bool = False


def judge(workspace: Paths, version: Version, evaluation: Evaluation, policy: GateConfig) -> Judgement:
    """Compare a registered candidate with the champion on the workspace's test split and golden set; change nothing.

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
    comparison = compare(workspace, data, champion, level) if champion else None
    verdict = decide(evaluation, tasks.get(data.task).headline, comparison, policy)
    if verdict.decision == "promote" and (overruling := versions.find_overruled(version)):
        which = "it" if overruling == version else f"version {overruling.number}, which has the same weights,"
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
    # Verdicts from before there were golden sets name no margin, and need none.
    policy = GateConfig.validated({"margin": 0.0, **evidence["policy"]}, "the recorded policy of the gate")
    recorded = evidence["champion"]
    comparison = (
        compare(workspace, data, versions.find(name, recorded["version"]), recorded["level"]) if recorded else None
    )
    return decide(evaluation, tasks.get(data.task).headline, comparison, policy)


def record_verdict(
    workspace: Paths, version: Version, judgement: Judgement, evaluation: Evaluation, policy: GateConfig
) -> None:
    """Store the verdict in tags of the version and its evidence in the run, unless they have them already.

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
        "overruled": versions.find_overruled(version) is not None,
        "policy": policy.model_dump(mode="json"),
        "candidate": evaluation.metrics,
        "champion": asdict(judgement.comparison) if judgement.comparison else None,
        "test_sha256": evaluation.test_sha256,
        "golden_sha256": evaluation.golden_sha256,
        "decided": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if judgement.comparison and verdict.decision != "reject":  # a floor rejects without the paired test
        alpha_spending.record(version, judgement.comparison.level)
    runs.resume(version.run_id).log_json(evidence, EVIDENCE)
    origin = Origin.of(workspace, version)
    registration.describe(
        version, descriptions.of_version(version, origin, evaluation, verdict.decision, verdict.reasons)
    )
    key = _verdict_key(version, judgement.opponent, evaluation, policy)
    aliases.record_decision(version, verdict.decision, verdict.reasons, key)


def _verdict_key(version: Version, champion: int | None, evaluation: Evaluation, policy: GateConfig) -> str:
    """Return the digest of all that a verdict depends on besides the two models themselves."""
    has_golden = bool(evaluation.golden_sha256)
    facts = [
        champion,
        versions.find_overruled(version) is not None,
        evaluation.test_sha256,
        policy.model_dump(mode="json", exclude=set() if has_golden else {"margin"}),
        *([evaluation.golden_sha256] if has_golden else []),
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
