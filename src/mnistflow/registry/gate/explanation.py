"""Explanation of a verdict: the gate's decision on a version in one paragraph, from the evidence in its run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mnistflow import files
from mnistflow.errors import DataError, RegistryError
from mnistflow.registry import versions
from mnistflow.registry.gate.judgement import EVIDENCE
from mnistflow.registry.gate.verdict import promotion_threshold
from mnistflow.registry.versions import PARTICIPLES, Version
from mnistflow.tasks.identity import Headline
from mnistflow.tracking import artifacts


def explain(name: str, number: int) -> str:
    """Return a paragraph: what was decided about a version, on which evidence, and what has become of it.

    Raises:
        RegistryError: there is no such version.
    """
    version = versions.find(name, number)
    evidence = _evidence(version)
    sentences = _recorded(version, evidence) if evidence else _unrecorded(version)
    return " ".join([*sentences, _now(version)])


def _evidence(version: Version) -> Any:
    """Return the recorded evidence of a verdict; None if there is none."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            return files.read_json(artifacts.of_run(version.run_id, EVIDENCE, Path(folder)))
    except (RegistryError, DataError):
        return None


def _unrecorded(version: Version) -> Iterator[str]:
    if version.verdict_key:
        yield f"{version.title} was {PARTICIPLES[version.decision]}: {'; '.join(version.reasons)}."
        yield "The artifact store no longer has the evidence."
    else:
        yield f"The gate has not judged {version.title}."


def _recorded(version: Version, evidence: Any) -> Iterator[str]:
    headline = version.headline
    champion = evidence["champion"]
    yield (
        f"{version.title} was {PARTICIPLES[evidence['decision']]} at {evidence['decided']}: "
        f"{'; '.join(evidence['reasons'])}."
    )
    score = headline.format(evidence["candidate"][headline.name])
    if champion is None:
        yield f"There was no champion to compare it with; its {headline.name} was {score} on the test split."
        return
    test = champion["test"]
    yield (
        f"On the same test split its {headline.name} was {score}, that of the champion, version "
        f"{champion['version']}, {headline.format(champion['score'])}: it did better on {test['wins']:,} examples and "
        f"worse on {test['losses']:,} ({test['name']}, two-sided p = {test['p_value']:.3g})."
    )
    golden = champion.get("golden")
    if golden:
        yield _on_golden(headline, golden)
    if "level" in champion:
        threshold = promotion_threshold(champion["level"], has_golden_set=bool(golden))
        shared = " and is shared by both tests" if golden else ""
        yield (
            f"A promotion needed more wins than losses and p below {threshold:.3g}, as gate.significance "
            f"{evidence['policy']['significance']} holds for a year of comparisons{shared}."
        )
    if golden:
        yield f"On the other of the two, it might lose at most gate.margin {evidence['policy']['margin']}."


def _on_golden(headline: Headline, golden: Mapping[str, Any]) -> str:
    test = golden["test"]
    return (
        f"On the golden set of {golden['examples']:,} examples, {golden['sha256'][:12]}, it reached "
        f"{headline.format(golden['candidate'])} and the champion {headline.format(golden['score'])}: better on "
        f"{test['wins']:,} and worse on {test['losses']:,} (two-sided p = {test['p_value']:.3g})."
    )


def _now(version: Version) -> str:
    """Return what the version is now."""
    now = f"Now it is {' and '.join(version.aliases)}" if version.aliases else "Now no alias points to it"
    moment, _, became = version.history[-1].partition(" ") if version.history else ("", "", "")
    since = f"; at {moment} it {became}" if became else ""
    overruled = ", and it was rolled back or replaced by hand since" if version.is_overruled else ""
    return f"{now}{since}{overruled}."
