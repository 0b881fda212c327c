"""A retraining or a sweep in words: for the Prefect artifact and the terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from mnistflow.paths import Paths
from mnistflow.tracking import runs
from mnistflow.tracking.runs import Record

if TYPE_CHECKING:
    from flows.outcome import Outcome
    from flows.sweep import SweepOutcome
    from mnistflow.registry.comparison import Contender


def headline(outcome: Outcome) -> str:
    """Return the verdict in one line."""
    name = f"{outcome.version.name} version {outcome.version.number}, {outcome.version.quality}"
    if not outcome.changed:
        is_back = outcome.opponent and outcome.champion == outcome.version.number
        return f"{'promoted again' if is_back else 'unchanged'}: {name}"
    said = {"promote": "promoted", "hold": "kept as challenger", "reject": "rejected"}[outcome.verdict.decision]
    return f"{said}: {name}"


def reasons(outcome: Outcome) -> Sequence[str]:
    """Return why the verdict is what it is, a line each."""
    if outcome.changed or outcome.opponent:
        return outcome.verdict.reasons
    return [f"when it was registered: {reason}" for reason in outcome.verdict.reasons]


def markdown(outcome: Outcome, paths: Paths) -> str:
    """Return what changed, the metrics against those of the champion, the verdict and where to look further."""
    candidate = runs.read(outcome.run_id)
    opponent = runs.read(outcome.opponent.run_id) if outcome.opponent else None
    why = "\n".join(f"- {reason}" for reason in reasons(outcome))
    return f"""# {headline(outcome)}

{why}

Champion now: version {outcome.champion}.

## Stages
{_stages(outcome)}

## What differs from the champion
{_differences(candidate, opponent)}

## Metrics
{_metrics(list(outcome.evaluation.logged), candidate, opponent)}

## Where to look further
- MLflow run `{outcome.run_id}` in {os.environ["MLFLOW_TRACKING_URI"]}
- model repository {paths.models / outcome.version.name}
"""


def _stages(outcome: Outcome) -> str:
    rows = [
        f"| {stage.stage} | {'ran' if stage.executed else 'from the cache'} | {stage.seconds:.1f} |"
        for stage in outcome.stages
    ]
    return "\n".join(["| stage | what happened | seconds |", "| --- | --- | ---: |", *rows])


def _differences(candidate: Record, opponent: Record | None) -> str:
    if opponent is None:
        return "There was no other champion to compare with."
    names = sorted(candidate.parameters.keys() | opponent.parameters.keys())
    values = [(name, candidate.parameters.get(name, ""), opponent.parameters.get(name, "")) for name in names]
    rows = [f"| {name} | {ours} | {theirs} |" for name, ours, theirs in values if ours != theirs]
    if not rows:
        return "No parameter differs."
    return "\n".join(["| parameter | this run | champion |", "| --- | --- | --- |", *rows])


def _metrics(names: Sequence[str], candidate: Record, opponent: Record | None) -> str:
    if opponent is None:
        rows = [f"| {name} | {candidate.metrics[name]:.5g} |" for name in names if name in candidate.metrics]
        return "\n".join(["| metric | this run |", "| --- | ---: |", *rows])
    rows = [
        f"| {name} | {candidate.metrics[name]:.5g} | {opponent.metrics[name]:.5g} "
        f"| {candidate.metrics[name] - opponent.metrics[name]:+.3g} |"
        for name in names
        if name in candidate.metrics and name in opponent.metrics
    ]
    return "\n".join(["| metric | this run | champion | difference |", "| --- | ---: | ---: | ---: |", *rows])


def sweep(result: SweepOutcome) -> Table:
    """Return the families of a sweep as a table, the best first; its title states the overrides."""
    title = f"{result.dataset}: {len(result.contenders)} families"
    table = Table(title=f"{title}, {result.overrides}" if result.overrides else title)
    table.add_column("family")
    for heading in (result.metric, "n", "95 %", "errors", "robust", "parameters", "MB", "train s", "ms", "epochs"):
        table.add_column(heading, justify="right")
    for contender in result.contenders:
        table.add_row(*_cells(contender))
    return table


def _cells(one: Contender) -> tuple[str, ...]:
    return (
        one.name,
        _score(one),
        str(len(one.results)),
        f"{one.interval[0] * 100:.2f}–{one.interval[1]:.2%}" if one.interval else "",
        "" if one.errors is None else f"{one.errors:,.1f}".removesuffix(".0"),
        "" if one.robust_score is None else f"{one.robust_score:.1%}",
        f"{one.parameters:,.0f}",
        f"{one.file_megabytes:.2f}",
        f"{one.train_seconds:.1f}",
        "" if one.latency_ms is None else f"{one.latency_ms:.3f}",
        f"{one.epochs:g}, kept {one.best_epoch:g}",
    )


def _score(one: Contender) -> str:
    """The mean, and the spread where there are several."""
    factor, form, unit = (100, ".2f", "%") if one.interval else (1, ".4g", "")
    spread = "" if one.spread is None else f" ± {one.spread * factor:{form}}"
    return f"{one.score * factor:{form}}{spread}{unit}"
