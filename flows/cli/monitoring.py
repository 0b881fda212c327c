"""Commands about the champion in production: monitor, history, explain."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from flows.cli.context import load_context, notify
from flows.cli.options import DatasetOption, Json, VersionNumber, console
from mnistflow import environment

if TYPE_CHECKING:
    from mnistflow.registry.history import Event


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (monitor, history, explain):
        app.command()(command)


def monitor(dataset: DatasetOption = None, as_json: Json = False) -> None:
    """Check traffic for drift and lost accuracy, and a newly promoted version against its predecessor.

    `mnistflow schedule` and `up` run it hourly. A promoted version that proves worse is rolled back.
    """
    paths, settings = load_context()
    from flows import promotion_watch
    from mnistflow.monitoring import look as looks
    from mnistflow.registry import dataset_choice

    chosen = dataset_choice.choose(paths, settings.fetch, dataset)

    log, now = environment.inference_log(), datetime.now(UTC)
    look = looks.run(paths, chosen, settings.monitor, log, now)
    watch = promotion_watch.advance(paths, chosen, settings.monitor, log, now, partial(notify, paths))
    if as_json:
        alarms = [alarm.model_dump(by_alias=True) for alarm in look.alarms]
        watched = watch.model_dump(mode="json", by_alias=True) if watch else None
        shown = {**asdict(look), "alarms": alarms, "picture": None, "watch": watched}
        del shown["plot"]  # bytes
        typer.echo(json.dumps(shown, indent=2))
    else:
        typer.echo(look.summary)
        if watch:
            typer.echo(f"watch: {watch}")


def history(dataset: DatasetOption = None, as_json: Json = False) -> None:
    """Show every change of the champion: when, from which version to which, by whom, and why."""
    paths, settings = load_context()
    from mnistflow.registry import dataset_choice, versions
    from mnistflow.registry import history as champions

    name = dataset_choice.choose_model(paths, settings.fetch, dataset)
    events = champions.events(versions.all_versions(name))
    if as_json:
        typer.echo(json.dumps(list(map(_event_json, events)), indent=2))
        return
    if not events:
        typer.echo(f"{name} has had no champion yet. `mnistflow retrain` trains one.")
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("time", "from", "to", "by", "who", "why", title=name)
    for event in events:
        replaced = "none" if event.replaced is None else str(event.replaced)
        table.add_row(event.moment, replaced, str(event.number), event.by, escape(event.who), escape(event.reason))
    console().print(table)


def _event_json(event: Event) -> dict[str, Any]:
    return {
        "time": event.moment,
        "version": event.number,
        "replaced": event.replaced,
        "by": event.by,
        "who": event.who,
        "because": event.reason,
    }


def explain(version: VersionNumber, dataset: DatasetOption = None) -> None:
    """Explain the gate's verdict on a version in one paragraph."""
    paths, settings = load_context()
    from mnistflow.registry import dataset_choice
    from mnistflow.registry.gate import explanation

    name = dataset_choice.choose_model(paths, settings.fetch, dataset)
    typer.echo(explanation.explain(name, version))
