"""Verdict: decides from evidence alone whether a candidate is promoted, held or rejected.

At 99.3 % of 10,000 images the standard error of an accuracy is 0.08 points, so two models are compared example by
example with the paired test of their task (McNemar's exact test for classifiers), not by their metrics alone, at a
level that keeps `gate.significance` over a year (`alpha_spending`). A tie is held. No class may lose more recall than
`gate.max_recall_drop`.

With a golden set, a candidate has to be significantly better on one of test split and golden set, and may lose at most
`gate.margin` on the other. Either can promote it, so each of the two tests has half of the level.

A share misses its floor only if it is significantly below, by an exact binomial test: one error in nine test images
makes 88.9 %, but a model that is right in 95 % of all cases makes at least one in 37 of 100 such splits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mnistflow.evaluation.evaluate import Evaluation
from mnistflow.registry.gate.config import GateConfig
from mnistflow.registry.versions import Decision
from mnistflow.tasks.identity import Headline
from mnistflow.tasks.task import PairedTest

ROUNDING = 1e-6  # of a number of predictions that is computed from their share


@dataclass(frozen=True)
class GoldenComparison:
    """Both models on the golden set.

    Attributes:
        sha256: of the set.
        examples: number of them.
        candidate: its headline metric.
        score: the champion's headline metric.
    """

    sha256: str
    examples: int
    candidate: float
    score: float
    test: PairedTest


@dataclass(frozen=True)
class Comparison:
    """The champion on the same test split, and the paired test of the candidate against it.

    Attributes:
        score: the champion's headline metric.
        by_class: the champion's recall of each class.
        level: of the comparison; see `alpha_spending`.
        robustness: the champion's mean headline metric under the same corruptions; None if it is not known.
        golden: the same on the golden set; None without one.
    """

    version: int
    score: float
    by_class: dict[str, float]
    test: PairedTest
    level: float
    robustness: float | None = None
    golden: GoldenComparison | None = None

    @property
    def p_threshold(self) -> float:
        """Two-sided p-value below which a win promotes."""
        return promotion_threshold(self.level, has_golden_set=self.golden is not None)


@dataclass(frozen=True)
class _SplitComparison:
    """A candidate against the champion on one split.

    Attributes:
        is_better: whether the candidate is better.
        loss: by how much the candidate's headline metric is worse; negative if it is better.
        evidence: the paired test in words.
    """

    split: str
    test: PairedTest
    is_better: bool
    loss: float
    evidence: str

    def is_significant(self, p_threshold: float) -> bool:
        """Whether the candidate is better with a two-sided p-value below the threshold."""
        return self.is_better and self.test.p_value < p_threshold


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


def promotion_threshold(level: float, *, has_golden_set: bool) -> float:
    """Return the two-sided p-value below which a win promotes.

    The level is one-sided, so a two-sided p-value may be twice as large. It is halved when a golden set is tested too.
    """
    return level if has_golden_set else 2 * level


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
    key = f"{'min' if headline.larger_is_better else 'max'}_{headline.name}"
    limit: float = getattr(policy, key)
    if headline.is_share:
        yield from _missed_floor(headline.name, value, sum(candidate.support.values()), key, policy)
    elif not (value == limit or headline.is_better(value, limit)):
        yield f"{headline.name} {value:.4f} is {'below' if headline.larger_is_better else 'above'} gate.{key} {limit}"
    for name, recall in candidate.by_class.items():
        yield from _missed_floor(f"recall of class {name}", recall, candidate.support[name], "min_class_recall", policy)
    robustness = candidate.robustness.get(f"robust_{headline.name}")
    if robustness is not None and policy.min_robustness is not None and robustness < policy.min_robustness:
        yield f"robust {headline.name} {robustness:.4f} is below gate.min_robustness {policy.min_robustness}"
    if candidate.file_bytes > policy.max_file_megabytes * 1e6:
        yield f"{candidate.file_bytes / 1e6:.1f} MB is above gate.max_file_megabytes {policy.max_file_megabytes}"


def _missed_floor(what: str, share: float, rows: int, key: str, policy: GateConfig) -> Iterator[str]:
    """Yield a reason if a share of right predictions is significantly below its floor.

    Args:
        what: name of the share.
        share: 0 to 1; NaN misses every floor.
        rows: number of predictions.
        key: of the floor in the policy.
    """
    floor: float = getattr(policy, key)
    if share >= floor:
        return
    p_value = _chance_of_as_few(share, rows, floor)
    if not p_value >= policy.significance:
        yield f"{what} {share:.4f} is below gate.{key} {floor} (p = {p_value:.3g}, {rows} examples)"


def _chance_of_as_few(share: float, rows: int, floor: float) -> float:
    """Return the probability that a model at the floor has at most this share of right predictions."""
    from scipy.stats import binom

    return float(binom.cdf(share * rows + ROUNDING, rows, floor))


def _compare(candidate: Evaluation, headline: Headline, champion: Comparison, policy: GateConfig) -> Verdict:
    comparisons = list(_compare_splits(candidate, headline, champion))
    evidence = "; ".join(comparison.evidence for comparison in comparisons)
    better = [comparison for comparison in comparisons if comparison.is_better]
    won = [comparison for comparison in comparisons if comparison.is_significant(champion.p_threshold)]
    if not better:
        return Verdict("hold", (f"not better: {evidence}",))
    if not won:
        return Verdict("hold", (f"better, but not significantly: {evidence}, not below {champion.p_threshold:.3g}",))
    if dropped := _dropped(candidate, headline, champion, policy, comparisons):
        return Verdict("hold", (f"better overall: {evidence}", *dropped))
    where = f" on {won[0].split}" if len(won) < len(comparisons) else ""
    return Verdict("promote", (f"significantly better{where}: {evidence}, below {champion.p_threshold:.3g}",))


def _compare_splits(candidate: Evaluation, headline: Headline, champion: Comparison) -> Iterator[_SplitComparison]:
    splits = [("the test split", champion.test, candidate.metrics[headline.name], champion.score)]
    if golden := champion.golden:
        splits.append(("the golden set", golden.test, golden.candidate, golden.score))
    for split, test, value, score in splits:
        # A rank test and the mean squared error may disagree: a candidate has to be better by both.
        is_better = test.favours_candidate and headline.is_better(value, score)
        against = f" against version {champion.version}" if test is champion.test else ""
        where = f" on {split}" if champion.golden else ""
        evidence = f"{test.wins} won and {test.losses} lost{against}{where}, p = {test.p_value:.3g}"
        yield _SplitComparison(
            split, test, is_better, score - value if headline.larger_is_better else value - score, evidence
        )


def _dropped(
    candidate: Evaluation,
    headline: Headline,
    champion: Comparison,
    policy: GateConfig,
    comparisons: list[_SplitComparison],
) -> list[str]:
    """Return what a candidate loses more of than the policy allows."""
    lost = [
        f"{headline.name} drops by {comparison.loss:.4f} on {comparison.split}, more than gate.margin {policy.margin}"
        for comparison in comparisons
        if comparison.loss > policy.margin + ROUNDING
    ]
    recalls = [
        f"recall of class {name} drops by {champion.by_class[name] - recall:.4f}, "
        f"more than gate.max_recall_drop {policy.max_recall_drop}"
        for name, recall in candidate.by_class.items()
        if champion.by_class.get(name, 0.0) - recall > policy.max_recall_drop
    ]
    return [*lost, *recalls, *_dropped_robustness(candidate, headline, champion, policy)]


def _dropped_robustness(
    candidate: Evaluation, headline: Headline, champion: Comparison, policy: GateConfig
) -> list[str]:
    robustness = candidate.robustness.get(f"robust_{headline.name}")
    if robustness is None or champion.robustness is None or policy.max_robustness_drop is None:
        return []
    drop = champion.robustness - robustness
    if drop <= policy.max_robustness_drop:
        return []
    limit = f"gate.max_robustness_drop {policy.max_robustness_drop}"
    return [f"robust {headline.name} drops by {drop:.4f}, more than {limit}"]
