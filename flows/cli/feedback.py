"""Commands about labels that users have reported: feedback review, accept, reject, golden."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.context import load_context
from flows.cli.options import Json, console, counted
from mnistflow import environment
from mnistflow.errors import ConfigError, DataError

if TYPE_CHECKING:
    from mnistflow.data.config import PrepareConfig
    from mnistflow.data.feedback.reports import Decision, FeedbackReports, Report
    from mnistflow.paths import Paths

Keys = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY]...", help="Keys of reports, from `mnistflow feedback review`.")
]
Source = Annotated[str | None, typer.Option(metavar="NAME", help="Also all unreviewed reports of this source.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Review labels that users reported for served images.")
    for command in (review, accept, reject, golden):
        group.command()(command)
    app.add_typer(group, name="feedback")


def review(
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="PNG file to write the held images to.")] = None,
    as_json: Json = False,
) -> None:
    """List the reports held back from training, with reasons."""
    paths, config = _context()
    from mnistflow.data.feedback import reports, selection

    found = reports.read_all(paths, config)
    selected = selection.preview(paths, config, found)
    held = list(selected.held.values())
    if picture and held:
        from mnistflow.data.feedback import pictures

        pictures.draw(picture, [report for report, _ in held])
    elif picture:
        typer.echo(f"nothing is held back: {picture} is not written", err=True)
    if as_json:
        rows = [{**_described(report), "held": why} for report, why in held]
        counts = {"used": len(selected.used), "excluded": len(selected.excluded)}
        typer.echo(json.dumps({**counts, "held": rows}, indent=2))
        return
    if held:
        _print_held(held)
    reasons = Counter(why for _, why in selected.excluded.values())
    because = f" ({', '.join(f'{why}: {number}' for why, number in reasons.items())})" if reasons else ""
    typer.echo(
        f"{found.entry.name}: usable for training: {counted(len(selected.used), 'report')}, held back: {len(held)}, "
        f"excluded: {len(selected.excluded)}{because}"
    )
    if held:
        typer.echo("`mnistflow feedback accept KEY` and `reject KEY` decide.")


def _print_held(held: "Sequence[tuple[Report, str]]") -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table("report", "answered", "reported", "source", "held back because", box=box.SIMPLE_HEAD)
    for report, why in held:
        table.add_row(*map(escape, (report.key, report.answered, report.class_name, report.source, why)))
    console().print(table)


def accept(
    keys: Keys = None,
    correct: Annotated[
        str | None, typer.Option("--as", metavar="CLASS", help="True class, if the reported one is wrong.")
    ] = None,
    source: Source = None,
) -> None:
    """Accept reports as training examples."""
    _decide("accept", keys or (), source, correct)


def reject(keys: Keys = None, source: Source = None) -> None:
    """Reject reports, so that they are not trained on."""
    _decide("reject", keys or (), source, None)


def golden(
    draw: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Draw a new golden set of N accepted reports at random.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
    sign: Annotated[bool, typer.Option(help=f"Sign the current set with {environment.SIGNING_KEY}.")] = False,
    as_json: Json = False,
) -> None:
    """Show or draw the golden set: accepted reports that the gate evaluates on and training excludes."""
    paths, config = _context()
    from mnistflow.data.feedback import reports
    from mnistflow.process_identity import user_at_host
    from mnistflow.provenance import golden_sets

    key = os.environ.get(environment.SIGNING_KEY)
    if sign and not key:
        raise ConfigError("there is no key to sign with", f"Set {environment.SIGNING_KEY} to a file.")
    signer = Path(key) if key else None
    found = reports.read_all(paths, config)
    if draw is not None:
        golden_sets.draw(paths, found, number=draw, seed=seed, by=user_at_host(), key=signer)
    elif sign and signer:
        golden_sets.sign(paths, found.entry.name, signer)
    else:
        golden_sets.synchronize(paths, found.entry.name)
    _show_golden(paths, found.entry.name, as_json)


def _show_golden(paths: "Paths", dataset: str, as_json: bool) -> None:
    from mnistflow.data.feedback import golden as sets
    from mnistflow.provenance import golden_sets

    current = sets.current(paths, dataset)
    if current is None:
        hint = f"{dataset} has no golden set. `mnistflow feedback golden --draw N` draws one."
        typer.echo("null" if as_json else hint)
        return
    signed = golden_sets.is_signed(current)
    if as_json:
        typer.echo(json.dumps({**asdict(current), "folder": str(current.folder), "signed": signed}, indent=2))
        return
    typer.echo(
        f"{dataset}: golden set {current.number} of {current.examples} examples, {current.sha256[: sets.DIGITS]}, "
        f"drawn at {current.drawn} by {current.by}, {'signed' if signed else 'not signed'}"
    )


def _decide(decision: "Decision", keys: Sequence[str], source: str | None, correct: str | None) -> None:
    paths, config = _context()
    from mnistflow.data.feedback import reports, reviews, selection
    from mnistflow.process_identity import user_at_host

    before = reports.read_all(paths, config)
    chosen = _chosen(before, keys, source)
    if correct is not None and correct not in before.entry.classes:
        raise ConfigError(
            f"{before.entry.name} has no class {correct}", f"Use one of: {', '.join(before.entry.classes)}."
        )
    reviews.record(before.log, chosen, decision, user_at_host(), correct or "")
    wanted = {report.key for report in chosen}
    after = reports.read_all(paths, config)
    decided = [report for report in after.reports if report.key in wanted and report.decision == decision]
    if len(decided) < len(chosen):
        raise DataError(
            f"{len(chosen) - len(decided)} of {len(chosen)} decisions are not in the inference log",
            "New feedback on these images has arrived: `mnistflow feedback review` shows it.",
        )
    typer.echo(f"{decision}ed {counted(len(decided), 'report')}, read back from the inference log")
    if decision == "accept":
        excluded = selection.exclusion_reasons(paths, config, after)
        reasons = Counter(excluded[key] for key in wanted & excluded.keys())
        for reason, count in sorted(reasons.items()):
            typer.echo(f"note: {counted(count, 'report')} excluded from training: {reason}", err=True)


def _chosen(found: "FeedbackReports", keys: Sequence[str], source: str | None) -> "list[Report]":
    known = {report.key: report for report in found.reports}
    if unknown := [key for key in keys if key not in known]:
        raise ConfigError(
            f"there is no report {unknown[0]}", "`mnistflow feedback review` lists the reports that wait."
        )
    of_source = [report.key for report in found.reports if report.source == source and report.decision is None]
    chosen = {key: known[key] for key in (*keys, *of_source)}
    if not chosen and source is not None:
        raise ConfigError(
            f"no report of source {source!r} waits", "`mnistflow feedback review` lists the reports that wait."
        )
    if not chosen:
        raise ConfigError(
            "no report is given", "Give keys, or a source with --source; `mnistflow feedback review` lists them."
        )
    return list(chosen.values())


def _context() -> "tuple[Paths, PrepareConfig]":
    """Return the section `prepare`, with the log that `mnistflow serve` writes if params.yaml names none."""
    paths, settings = load_context()
    config = settings.prepare
    if config.feedback is None:
        log = environment.inference_log()
        if not log:
            raise ConfigError("there is no inference log", f"Set prepare.feedback or {environment.INFERENCE_LOG}.")
        typer.echo(f"note: prepare.feedback is null, so trainings use no reports; those shown are from {log}", err=True)
        config = config.model_copy(update={"feedback": log})
    return paths, config


def _described(report: "Report") -> dict[str, object]:
    return {
        "key": report.key,
        "answered": report.answered,
        "reported": report.class_name,
        "source": report.source,
        "time": report.time,
    }
