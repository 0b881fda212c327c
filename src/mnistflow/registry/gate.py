"""Gate: decides from evidence alone whether a candidate is promoted, held or rejected.

At 99.3 % of 10,000 images the standard error of an accuracy is 0.08 points, so two models are compared example by
example with the paired test of their task (McNemar's exact test for classifiers), not by their metrics alone. A tie is
held. No class may lose more recall than `gate.max_recall_drop`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mnistflow.evaluation.evaluate import Evaluation
from mnistflow.registry.config import GateConfig
from mnistflow.registry.versions import Decision
from mnistflow.tasks.identity import Headline
from mnistflow.tasks.task import PairedTest


@dataclass(frozen=True)
class Comparison:
    """The champion on the same test split, and the paired test of the candidate against it.

    Attributes:
        score: the champion's headline metric.
        by_class: the champion's recall of each class.
    """

    version: int
    score: float
    by_class: dict[str, float]
    test: PairedTest


@dataclass(frozen=True)
class Verdict:
    """The gate's decision and all its reasons.

    Attributes:
        decision: `promote`: becomes champion; `hold`: becomes challenger; `reject`: misses a limit of the policy.
    """

    decision: Decision
    reasons: tuple[str, ...]

    @property
    def promoted(self) -> bool:
        """Whether the candidate becomes champion."""
        return self.decision == "promote"


def decide(candidate: Evaluation, headline: Headline, champion: Comparison | None, policy: GateConfig) -> Verdict:
    """Decide on a candidate.

    Args:
        headline: the metric that has to reach its limit in the policy.
        champion: None when no version serves yet; the limits alone decide then.
    """
    failures = tuple(_missed_limits(candidate, headline, policy))
    if failures:
        return Verdict("reject", failures)
    if champion is None:
        return Verdict("promote", ("no champion yet, and every floor is reached",))
    return _compare(candidate, headline, champion, policy)


def _missed_limits(candidate: Evaluation, headline: Headline, policy: GateConfig) -> Iterator[str]:
    value = candidate.metrics[headline.name]
    if headline.larger_is_better:
        key, side = f"min_{headline.name}", "below"
    else:
        key, side = f"max_{headline.name}", "above"
    limit: float = getattr(policy, key)
    if not (value == limit or headline.is_better(value, limit)):
        yield f"{headline.name} {value:.4f} is {side} gate.{key} {limit}"
    for name, recall in candidate.by_class.items():
        if not recall >= policy.min_class_recall:
            yield f"recall {recall:.4f} of class {name} is below gate.min_class_recall {policy.min_class_recall}"
    if candidate.file_bytes > policy.max_file_megabytes * 1e6:
        yield f"{candidate.file_bytes / 1e6:.1f} MB is above gate.max_file_megabytes {policy.max_file_megabytes}"


def _compare(candidate: Evaluation, headline: Headline, champion: Comparison, policy: GateConfig) -> Verdict:
    test = champion.test
    evidence = f"{test.wins} won and {test.losses} lost against version {champion.version}, p = {test.p_value:.3g}"
    dropped = [
        f"recall of class {name} drops by {champion.by_class[name] - recall:.4f}"
        for name, recall in candidate.by_class.items()
        if champion.by_class.get(name, 0.0) - recall > policy.max_recall_drop
    ]
    # A rank test and the mean squared error may disagree: a candidate has to be better by both.
    if not (test.favours_candidate and headline.is_better(candidate.metrics[headline.name], champion.score)):
        return Verdict("hold", (f"not better: {evidence}",))
    if test.p_value >= policy.significance:
        return Verdict("hold", (f"better, but not significantly: {evidence}",))
    if dropped:
        return Verdict("hold", (f"better overall: {evidence}", *dropped))
    return Verdict("promote", (f"significantly better: {evidence}",))
