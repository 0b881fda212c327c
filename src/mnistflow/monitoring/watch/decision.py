"""Decision of a watch: whether to keep the champion, to roll it back, or to continue watching. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from mnistflow.monitoring import accuracy
from mnistflow.monitoring.config import MonitorConfig
from mnistflow.monitoring.watch.evidence import Evidence, Pairs
from mnistflow.monitoring.watch.record import Watch

MIN_REQUESTS = 100  # of each version, before their times are compared
SLOWER = 2.0  # factor that no difference in load explains


def decide(watch: Watch, evidence: Evidence, elapsed: timedelta, config: MonitorConfig) -> Watch:
    """Return a watch after a look.

    Args:
        watch: still under way.
        evidence: since the watch began.
        elapsed: time since the watch began.
        config: section `monitor` of params.yaml.
    """
    pairs = evidence.pairs
    seen = watch.model_copy(update={"labelled": pairs.labelled, "wins": pairs.wins, "losses": pairs.losses})
    if reasons := list(_rollback_reasons(evidence, config)):
        return seen.model_copy(update={"outcome": "worse", "reason": "; ".join(reasons)})
    if pairs.labelled >= config.watch_labels or elapsed >= timedelta(hours=config.watch_hours):
        return seen.model_copy(update={"outcome": "kept", "reason": _comparison_text(pairs)})
    return seen.model_copy(update={"reason": _comparison_text(pairs)})


def _comparison_text(pairs: Pairs) -> str:
    """Return the result of the paired comparison as text."""
    if pairs.problem:
        return f"not compared: {pairs.problem}"
    return f"{pairs.wins} won and {pairs.losses} lost of {pairs.labelled} images with feedback"


def _rollback_reasons(evidence: Evidence, config: MonitorConfig) -> Iterator[str]:
    """Yield each reason to roll the champion back."""
    for address, reason in evidence.refusals.items():
        yield f"{address} refuses to serve it: {reason}"
    yield from _failing(evidence, config)
    yield from _slower(evidence, config)
    pairs = evidence.pairs
    allowed = config.report_ratio / (1 + config.report_ratio)
    lost = accuracy.share_lower_bound(pairs.losses, pairs.wins + pairs.losses)
    if lost > allowed:
        bound = f"at least {lost:.1%} of the differences are losses, {allowed:.1%} are tolerated"
        yield f"worse: {_comparison_text(pairs)}; {bound}"


def _failing(evidence: Evidence, config: MonitorConfig) -> Iterator[str]:
    champion, before = evidence.champion, evidence.predecessor
    allowed = max(config.max_failures, before.failed / before.requests if before.requests else 0.0)
    if champion.requests and accuracy.confidence_sequence(champion.failed, champion.requests).low > allowed:
        yield f"failing: {champion.failed:,} of {champion.requests:,} requests, {allowed:.1%} are tolerated"


def _slower(evidence: Evidence, config: MonitorConfig) -> Iterator[str]:
    champion, before = evidence.champion, evidence.predecessor
    if min(champion.requests, before.requests) < MIN_REQUESTS:
        return
    allowed = max(config.max_milliseconds, SLOWER * before.milliseconds)
    if champion.milliseconds > allowed:
        times = f"{champion.milliseconds:.1f} ms a request, {before.milliseconds:.1f} before"
        yield f"slower: {times}, {allowed:.1f} are tolerated"
