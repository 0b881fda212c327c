"""Reports of retraining, monitoring, sweep and upkeep: Markdown for Prefect's artifacts, tables for the terminal."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from mnistflow import environment
from mnistflow.paths import Paths
from mnistflow.registry import versions
from mnistflow.tracking import mlflow_ui, runs
from mnistflow.tracking.records import StoredRun

if TYPE_CHECKING:
    from flows.checkup import Checkup
    from flows.outcome import Outcome, Result
    from flows.sweep.sweep import SweepOutcome
    from mnistflow.analysis.comparison import FamilySummary
    from mnistflow.monitoring.look import Look
    from mnistflow.upkeep.gc.garbage import Garbage


LABELS: Mapping[Result, str] = {
    "promoted": "promoted",
    "promoted-again": "promoted again",
    "kept-as-challenger": "kept as challenger",
    "rejected": "rejected",
    "unchanged": "unchanged",
    "evaluated-not-registered": "evaluated, not registered",
}


def summary_line(outcome: Outcome) -> str:
    """Return the result, name and quality of the model in one line."""
    gate, label = outcome.gate, LABELS[outcome.result]
    if gate is None:
        return f"{label}: {outcome.plan.name}, {outcome.quality}"
    return f"{label}: {gate.version.title}, {gate.version.quality}"


def commit_message(outcome: Outcome) -> str:
    """Return the message of a commit of dvc.lock: version and score, then data, model, verdict and MLflow run."""
    gate, evaluation = outcome.gate, outcome.evaluation
    version = gate.version.title if gate else f"{outcome.dataset}, not registered"
    return f"""{version}: {outcome.plan.name}, {outcome.quality}

Data set: {outcome.dataset}, test split {evaluation.test_sha256[:12]}
Model: {outcome.plan.config.model.family}, {evaluation.model_sha256[:12]}
Verdict: {gate.verdict.decision if gate else "none"}
MLflow run: {outcome.run_id}
"""


def reasons(outcome: Outcome) -> Sequence[str]:
    """Return the reasons of the verdict, a line each."""
    gate = outcome.gate
    if gate is None:
        return [f"not registered, as requested, so the gate did not evaluate it; MLflow run {outcome.run_id}"]
    if outcome.changed or gate.opponent:
        return gate.verdict.reasons
    return [f"when it was registered: {reason}" for reason in gate.verdict.reasons]


def retraining(outcome: Outcome, paths: Paths) -> str:
    """Return verdict, stages, differences from the champion in parameters and metrics, and where to find more."""
    candidate = runs.find(outcome.run_id)
    opponent = runs.find(outcome.gate.opponent.run_id) if outcome.gate and outcome.gate.opponent else None
    why = "\n".join(f"- {reason}" for reason in reasons(outcome))
    return f"""# {summary_line(outcome)}

{why}

Champion now: {f"version {outcome.champion}" if outcome.champion else "none"}.

## Stages
{_stages(outcome)}

## What differs from the champion
{_differences(outcome, candidate, opponent)}

## Metrics
{_metrics(outcome.evaluation.logged, opponent)}

## See also
{_pages(outcome, candidate, paths)}
- model repository {paths.models.relative_to(paths.checkout) / versions.model_name(outcome.dataset)}
"""


def _pages(outcome: Outcome, recorded: StoredRun | None, paths: Paths) -> str:
    """Return links to the run and the version in MLflow's UI, which may still have to be started."""
    ui, is_ui_running = mlflow_ui.address(paths, environment.tracking_uri())
    pages = []
    if recorded:
        page = mlflow_ui.run_page(ui, recorded.experiment_id, outcome.run_id)
        pages.append((f"MLflow run {recorded.name}", page))
    if outcome.gate:
        version = outcome.gate.version
        page = mlflow_ui.version_page(ui, version.name, version.number)
        pages.append((version.title, page))
    condition = "" if is_ui_running else ", once `mnistflow ui` runs"
    return "\n".join(f"- [{name}]({page}){condition}" for name, page in pages)


def _stages(outcome: Outcome) -> str:
    rows = [
        f"| {stage.stage} | {'ran' if stage.executed else 'from the cache'} | {stage.seconds:.1f} |"
        for stage in outcome.stages
    ]
    return "\n".join(["| stage | what happened | seconds |", "| --- | --- | ---: |", *rows])


def _differences(outcome: Outcome, candidate: StoredRun | None, opponent: StoredRun | None) -> str:
    if not (outcome.gate and outcome.gate.opponent):
        return "There was no other champion to compare with."
    if candidate is None or opponent is None:
        return "Unknown: the run of one of them was deleted in MLflow."
    names = sorted(candidate.parameters.keys() | opponent.parameters.keys())
    values = [(name, candidate.parameters.get(name, ""), opponent.parameters.get(name, "")) for name in names]
    rows = [f"| {name} | {ours} | {theirs} |" for name, ours, theirs in values if ours != theirs]
    if not rows:
        return "No parameter differs."
    return "\n".join(["| parameter | this run | champion |", "| --- | --- | --- |", *rows])


def _metrics(measured: Mapping[str, float], opponent: StoredRun | None) -> str:
    if opponent is None:
        rows = [f"| {name} | {value:.5g} |" for name, value in measured.items()]
        return "\n".join(["| metric | this run |", "| --- | ---: |", *rows])
    rows = [
        f"| {name} | {value:.5g} | {opponent.metrics[name]:.5g} | {value - opponent.metrics[name]:+.3g} |"
        for name, value in measured.items()
        if name in opponent.metrics
    ]
    return "\n".join(["| metric | this run | champion | difference |", "| --- | ---: | ---: | ---: |", *rows])


def monitoring(look: Look, paths: Paths) -> str:
    """Return a look in one line, its picture if there is an alarm, its metrics, and where to find the series."""
    ui, is_ui_running = mlflow_ui.address(paths, environment.tracking_uri())
    page = mlflow_ui.run_page(ui, runs.read(look.run_id).experiment_id, look.run_id)
    encoded = base64.b64encode(look.plot or b"").decode()
    picture = f"![Reference and traffic](data:image/png;base64,{encoded})\n" if look.plot else ""
    rows = [f"| {name} | {value:.4g} |" for name, value in look.metrics.items()]
    table = "\n".join(["| metric | value |", "| --- | ---: |", *rows])
    return f"""# {look.summary}

{picture}
{table}

- [The series in MLflow]({page}){"" if is_ui_running else ", once `mnistflow ui` runs"}
"""


def sweep(result: SweepOutcome) -> Table:
    """Return the families of a sweep as a table, the best first; its title states the overrides."""
    title = f"{result.dataset}: {len(result.families)} families"
    table = Table(title=f"{title}, {result.overrides}" if result.overrides else title)
    table.add_column("family")
    for heading in (result.metric, "n", "95 %", "errors", "robust", "parameters", "MB", "train s", "ms", "epochs"):
        table.add_column(heading, justify="right")
    for family in result.families:
        table.add_row(*_cells(family))
    return table


def _cells(family: FamilySummary) -> tuple[str, ...]:
    return (
        family.name,
        _score(family),
        str(len(family.results)),
        f"{family.interval[0] * 100:.2f}–{family.interval[1]:.2%}" if family.interval else "",
        "" if family.errors is None else f"{family.errors:,.1f}".removesuffix(".0"),
        "" if family.robust_score is None else f"{family.robust_score:.1%}",
        f"{family.parameters:,.0f}",
        f"{family.file_megabytes:.2f}",
        f"{family.train_seconds:.1f}",
        "" if family.latency_ms is None else f"{family.latency_ms:.3f}",
        f"{family.epochs:g}, kept {family.best_epoch:g}",
    )


def _score(family: FamilySummary) -> str:
    """Return the mean score, with the spread if there are several results."""
    factor, form, unit = (100, ".2f", "%") if family.interval else (1, ".4g", "")
    spread = "" if family.spread is None else f" ± {family.spread * factor:{form}}"
    return f"{family.score * factor:{form}}{spread}{unit}"


def upkeep(found: Checkup, removed: Sequence[Garbage]) -> str:
    """Return the Markdown report of a checkup, and of the garbage that was removed with it."""
    sections = {
        "Left": [*map(str, found.left), *found.failures],
        "Repaired": [one.what for one in found.repaired],
        "Removed": [f"{one.kind}: {one.count:,}" for one in removed],
    }
    parts = [f"## {title}\n\n" + "\n".join(f"- {line}" for line in lines) for title, lines in sections.items() if lines]
    return "\n\n".join([f"# {found.summary}", *parts])
