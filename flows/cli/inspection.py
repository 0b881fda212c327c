"""Commands that look: models, presets, leaderboard, status."""

import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated

import typer

from flows.cli.context import load_context
from flows.cli.options import DatasetOption, Json, console


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (models, presets, leaderboard, status):
        app.command()(command)


def models() -> None:
    """List the model families with their parameters as params.yaml has them."""
    _, settings = load_context()
    from rich.table import Table

    from mnistflow.models import families

    table = Table()
    for heading in ("family", "what it is", "parameters"):
        table.add_column(heading)
    for name in families():
        parameters = settings.model.parameters_of(name)
        summary = (inspect.getmodule(type(parameters)).__doc__ or "").strip().rstrip(".")
        values = _settings_as_typed(parameters.model_dump(mode="json"))
        chosen = "[bold]" if name == settings.model.family else ""
        table.add_row(f"{chosen}{name}", summary, values)
    console.print(table)


def presets() -> None:
    """List the presets of params.yaml with what they override."""
    _, settings = load_context()
    from rich.table import Table

    table = Table("preset", "overrides")
    for name in settings.presets:
        table.add_row(name, _settings_as_typed(settings.preset(name)))
    console.print(table)


def _settings_as_typed(values: Mapping[str, object]) -> str:
    """Return settings as -S takes them."""
    return ", ".join(f"{key}={json.dumps(value)}" for key, value in values.items())


def leaderboard(
    dataset: DatasetOption = None, as_json: Json = False, limit: Annotated[int, typer.Option(min=1)] = 20
) -> None:
    """Rank runs and versions, the best first."""
    paths, settings = load_context()
    from mnistflow.analysis import leaderboard as ranking
    from mnistflow.registry import status as state
    from mnistflow.registry import versions

    name = state.choose_dataset(paths, settings.fetch, dataset)
    rows = ranking.rank(name, limit)
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=2))
        return
    from rich.table import Table

    table = Table(title=f"{name}: {len(rows)} {'run' if len(rows) == 1 else 'runs'}")
    headline = versions.task_of(name).headline
    for heading in (headline.name, "errors", "loss", "robust", "run", "version", "parameters", "MB", "ms", "train s"):
        table.add_column(heading, justify="left" if heading in {"run", "version"} else "right")
    for row in rows:
        version = " ".join(filter(None, [str(row.version or ""), ", ".join(row.aliases)]))
        table.add_row(
            headline.format(row.score),
            "" if row.errors is None else str(row.errors),
            "" if row.loss is None else f"{row.loss:.4f}",
            "" if row.robust is None else headline.format(row.robust),
            row.name,
            version,
            f"{row.parameters:,}",
            f"{row.file_megabytes:.2f}",
            f"{row.latency_ms:.3f}" if row.latency_ms else "",
            f"{row.train_seconds:.0f}",
        )
    console.print(table)


def status(dataset: DatasetOption = None, as_json: Json = False) -> None:
    """Show data, champion, challenger, the last run, and the schedules."""
    paths, settings = load_context()
    from flows.orchestration import deployments
    from mnistflow.registry import status as state

    now = state.read(paths, state.choose_dataset(paths, settings.fetch, dataset))
    schedules = deployments.schedules(paths)
    if as_json:
        typer.echo(json.dumps({**asdict(now), "schedules": [asdict(entry) for entry in schedules]}, indent=2))
        return
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for name, value in state.lines(now):
        table.add_row(f"[bold]{name}", value)
    for entry in schedules:
        table.add_row("[bold]schedule", f"{entry.deployment}: next {entry.next_run} ({entry.state})")
    console.print(table)
