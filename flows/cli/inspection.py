"""Commands that only show something: models, presets, compare, status."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.context import load_context
from flows.cli.options import DatasetOption, Json, console
from mnistflow import environment
from mnistflow.errors import ConfigError

if TYPE_CHECKING:
    from flows.orchestration.deployments import Schedule
    from mnistflow.analysis.side_by_side import Measured
    from mnistflow.tasks.identity import Headline


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (models, presets, compare, status):
        app.command()(command)


def models() -> None:
    """List the model families with their parameters in params.yaml."""
    _, settings = load_context()
    from rich.table import Table

    from mnistflow.models import families

    table = Table()
    for heading in ("family", "what it is", "parameters"):
        table.add_column(heading)
    for name in families():
        parameters = settings.model.parameters_of(name)
        values = _settings_as_typed(parameters.model_dump(mode="json"))
        chosen = "[bold]" if name == settings.model.family else ""
        table.add_row(f"{chosen}{name}", parameters.summary, values)
    console().print(table)


def presets() -> None:
    """List the presets of params.yaml with their overrides."""
    _, settings = load_context()
    from rich.table import Table

    table = Table("preset", "overrides")
    for name in settings.presets:
        table.add_row(name, _settings_as_typed(settings.preset(name)))
    console().print(table)


def _settings_as_typed(values: Mapping[str, object]) -> str:
    """Return settings as -S takes them."""
    return ", ".join(f"{key}={json.dumps(value)}" for key, value in values.items())


def compare(
    version: Annotated[list[str], typer.Argument(metavar="VERSION...", help="Two or more version numbers.")],
    dataset: DatasetOption = None,
    as_json: Json = False,
) -> None:
    """Compare versions: metrics with 95 % confidence intervals, and the parameters that differ."""
    if wrong := next((text for text in version if not text.isdecimal()), None):
        raise ConfigError(f"{wrong!r} is not a version number", "`mnistflow leaderboard` lists the versions.")
    paths, settings = load_context()
    from mnistflow.analysis import side_by_side
    from mnistflow.registry import dataset_choice
    from mnistflow.tracking import mlflow_ui

    name = dataset_choice.choose_model(paths, settings.fetch, dataset)
    found = side_by_side.compare(name, [int(text) for text in version])
    ui, is_ui_running = mlflow_ui.address(paths, environment.tracking_uri())
    page = mlflow_ui.comparison_page(ui, [run.run_id for run in found.runs], [run.experiment_id for run in found.runs])
    if as_json:
        typer.echo(json.dumps({**asdict(found), "mlflow": page}, indent=2))
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("", title=name)
    for one, run in zip(found.versions, found.runs, strict=True):
        heading = "\n".join([f"version {one.number}", *one.aliases, run.name])
        table.add_column(escape(heading), justify="right")
    for metric, values in found.metrics.items():
        table.add_row(metric, *(_cell(value, found.headline) for value in values))
    table.add_section()
    for key, texts in found.parameters.items():
        table.add_row(key, *map(escape, texts))
    console().print(table)
    typer.echo(f"{'MLflow:' if is_ui_running else 'MLflow, once `mnistflow ui` runs:'} {page}")


def _cell(measured: "Measured | None", headline: "Headline") -> str:
    if measured is None:
        return ""
    if measured.interval is None:
        return f"{measured.value:,.5g}" if abs(measured.value) < 100_000 else f"{measured.value:,.0f}"
    low, high = measured.interval
    return f"{headline.format(measured.value)} ({low * 100:.2f}–{high:.2%})"


def _schedule_lines(schedules: Sequence["Schedule"]) -> Iterator[tuple[str, str]]:
    """Yield a line for each schedule, with its state; one that all have and that needs a fix is the last line."""
    states = {entry.state for entry in schedules}
    is_shared = len(schedules) > 1 and len(states) == 1 and schedules[0].state.label == "problem"
    for entry in schedules:
        state = "" if is_shared else f" ({entry.state})"
        yield "schedule", f"{entry.deployment}: next {entry.next_run}{state}"
    if is_shared:
        yield "", str(schedules[0].state)


def status(dataset: DatasetOption = None, as_json: Json = False) -> None:
    """Show the data, champion, challenger, last run and schedules."""
    paths, settings = load_context()
    from flows.cli.status_lines import status_lines
    from flows.orchestration import deployments
    from mnistflow.monitoring import state as monitoring
    from mnistflow.monitoring.watch import record as watches
    from mnistflow.registry import dataset_choice, versions
    from mnistflow.registry import status as state

    now = state.read(paths, dataset_choice.choose(paths, settings.fetch, dataset))
    schedules = deployments.schedules(paths)
    name = versions.model_name(now.dataset)
    looked = {"monitor": monitoring.described(paths, name), "watch": watches.described(paths, name)}
    if as_json:
        entries = [{**asdict(entry), "state": str(entry.state)} for entry in schedules]
        typer.echo(json.dumps({**asdict(now), **looked, "schedules": entries}, indent=2))
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for label, value in (*status_lines(now), *looked.items()):
        table.add_row(f"[bold]{label}", escape(value))
    for label, value in _schedule_lines(schedules):
        table.add_row(f"[bold]{label}", escape(value))
    console().print(table)
