"""The `mnistflow` command: the stages, and everything that composes them."""

import inspect
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

import mnistflow
from mnistflow import cli, config, signals
from mnistflow.cli import Overrides
from mnistflow.config import Config
from mnistflow.errors import ConfigError, MnistflowError

if TYPE_CHECKING:
    from mnistflow.registry import Version

app = cli.application
console = Console(width=None if sys.stdout.isatty() else 120)

DatasetOption = Annotated[str | None, typer.Option("--dataset", help="Another data set than the one of params.yaml.")]
Preset = Annotated[
    list[str] | None,
    typer.Option("--preset", metavar="NAME", help="A named set of overrides from params.yaml; -S wins."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Host = Annotated[str, typer.Option(help="Address to listen on.")]


def main() -> None:
    """Run the command line."""
    cli.run(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print(f"mnistflow {mnistflow.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Train, compare, and serve models of small images."""


def _chosen(
    base: Config, presets: list[str] | None, overrides: list[str] | None, without: Sequence[str] = ()
) -> tuple[dict[str, object], Config]:
    """Return the values of a preset with those of -S over them, and the settings that they make of `base`.

    Args:
        without: keys that a preset may have, and that do not count here.

    Raises:
        ConfigError: there is no such preset, key, value or data set.
    """
    from mnistflow.data import catalog

    if presets and len(presets) > 1:
        raise ConfigError(f"--preset is given twice: {', '.join(presets)}", "Take one, and change single values by -S.")
    named = {key: value for name in presets or () for key, value in base.preset(name).items() if key not in without}
    values = {**named, **config.parse_overrides(overrides or [])}
    settings = base.with_values(values)
    if settings.fetch.dataset not in settings.fetch.own:
        catalog.get(settings.fetch.dataset)
    return values, settings


@app.command()
def retrain(overrides: Overrides = None, preset: Preset = None) -> None:
    """Run the whole pipeline: fetch ... evaluate, register, compare, promote or hold, publish."""
    cli.log_to_terminal()
    project, base = cli.start()
    values, settings = _chosen(base, preset, overrides)
    from flows import api
    from mnistflow import train

    train.require_able(settings, settings.fetch.dataset)
    prefect = api.connect(project)
    from flows import quiet, report
    from flows.retrain import retrain as flow
    from mnistflow import tracking
    from mnistflow.data import fetch

    tracking.client()  # opens MLflow's store, which takes as long as Prefect's API needs to start
    prefect.wait()
    try:
        with signals.interrupting(), quiet.short_log(links=not prefect.own):
            outcome = flow(values)
    except KeyboardInterrupt:
        console.print("interrupted: the same command goes on where this one stopped")
        raise typer.Exit(130) from None
    if outcome.dataset != settings.fetch.dataset:
        warning = fetch.fallback_warning(settings.fetch.dataset, outcome.dataset)
        console.print(Panel(warning, title="WARNING", style="bold yellow", expand=False))
    console.print(Panel("\n".join(report.reasons(outcome)), title=report.headline(outcome), expand=False))
    if outcome.champion is None:
        other = "" if outcome.dataset == settings.fetch.dataset else f" --dataset {outcome.dataset}"
        console.print(f"champion: none yet. `mnistflow promote {outcome.version.number}{other}` would overrule that")
    else:
        console.print(f"champion: {outcome.version.name} version {outcome.champion}, in var/models. Next: make up")


@app.command()
def sweep(
    families: Annotated[str, typer.Option(help="`all`, or names with commas between them.")] = "all",
    overrides: Overrides = None,
    preset: Preset = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each family, each with another seed.")] = 1,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; as many as cores and memory allow unless given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the model families side by side, and compare them; nothing is registered or promoted."""
    cli.log_to_terminal()
    project, base = cli.start()
    values, settings = _chosen(base, preset, overrides, without=["model.family"])
    from flows import report
    from flows import sweep as flow

    names = flow.choose_families(families, settings)
    try:
        with signals.interrupting():
            result = flow.sweep(project, names, values, seeds, jobs)
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted: the same command goes on where this one stopped")
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(json.dumps({**asdict(result), "folder": str(result.folder)}, indent=2))
    else:
        console.print(report.sweep(result))
        console.print(f"picture: {result.folder / 'pareto.png'}, and in MLflow run {result.run_id}")
    if result.failed:
        reasons = "; ".join(f"{member}: {reason}" for member, reason in result.failed.items())
        runs = len(names) * seeds
        raise MnistflowError(f"{len(result.failed)} of {runs} runs failed: {reasons}", "Then sweep again.")


@app.command()
def ingest() -> None:
    """Fetch and prepare the data, version it, and push it to DVC's remote."""
    cli.log_to_terminal()
    project, _ = cli.start()
    from flows import api

    prefect = api.connect(project)
    from flows import quiet
    from flows.ingest import ingest as flow

    prefect.wait()
    with signals.interrupting(), quiet.short_log(links=not prefect.own):
        stages = flow()
    done = ", ".join(f"{stage.stage} {'done' if stage.executed else 'unchanged'}" for stage in stages)
    console.print(f"{done}, and in DVC's remote")


@app.command()
def models() -> None:
    """List the model families with their parameters as params.yaml has them."""
    _, settings = cli.start()
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


@app.command()
def presets() -> None:
    """List the presets of params.yaml with what they override."""
    _, settings = cli.start()
    table = Table("preset", "overrides")
    for name in settings.presets:
        table.add_row(name, _settings_as_typed(settings.preset(name)))
    console.print(table)


def _settings_as_typed(values: Mapping[str, object]) -> str:
    """Return settings as -S takes them."""
    return ", ".join(f"{key}={json.dumps(value)}" for key, value in values.items())


@app.command()
def leaderboard(
    dataset: DatasetOption = None, as_json: Json = False, limit: Annotated[int, typer.Option(min=1)] = 20
) -> None:
    """Rank runs and versions, the best first."""
    project, settings = cli.start()
    from mnistflow import leaderboard as ranking
    from mnistflow import registry
    from mnistflow import status as state

    name = state.choose_dataset(project, settings, dataset)
    rows = ranking.rank(project, name, limit)
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=2))
        return
    table = Table(title=f"{name}: {len(rows)} {'run' if len(rows) == 1 else 'runs'}")
    headline = registry.task_of(name).headline
    for heading in (headline.name, "errors", "loss", "robust", "run", "version", "parameters", "MB", "ms", "train s"):
        table.add_column(heading, justify="left" if heading in {"run", "version"} else "right")
    for row in rows:
        version = " ".join(filter(None, [str(row.version or ""), ", ".join(row.aliases)]))
        table.add_row(
            headline.shown(row.score),
            "" if row.errors is None else str(row.errors),
            "" if row.loss is None else f"{row.loss:.4f}",
            "" if row.robust is None else headline.shown(row.robust),
            row.name,
            version,
            f"{row.parameters:,}",
            f"{row.file_megabytes:.2f}",
            f"{row.latency_ms:.3f}" if row.latency_ms else "",
            f"{row.train_seconds:.0f}",
        )
    console.print(table)


@app.command()
def status(dataset: DatasetOption = None, as_json: Json = False) -> None:
    """Show data, champion, challenger, the last run, and the schedules."""
    project, settings = cli.start()
    from flows import deployments
    from mnistflow import status as state

    now = state.read(project, state.choose_dataset(project, settings, dataset))
    schedules = deployments.schedules(project)
    if as_json:
        typer.echo(json.dumps({**asdict(now), "schedules": [asdict(entry) for entry in schedules]}, indent=2))
        return
    table = Table(show_header=False, box=None)
    for name, value in state.lines(now):
        table.add_row(f"[bold]{name}", value)
    for entry in schedules:
        table.add_row("[bold]schedule", f"{entry.deployment}: next {entry.next_run} ({entry.state})")
    console.print(table)


@app.command()
def promote(version: int, dataset: DatasetOption = None) -> None:
    """Make a version the champion by hand, whatever the gate said."""
    project, settings = cli.start()
    from mnistflow import promotion, registry
    from mnistflow import status as state

    name = registry.model_name(state.choose_dataset(project, settings, dataset))
    crowned = promotion.promote(project, name, version)
    console.print(f"champion: {name} version {crowned.number} ({crowned.quality})")
    _warn_of_rejected(crowned, "`mnistflow rollback` takes it back.")


@app.command()
def rollback(dataset: DatasetOption = None) -> None:
    """Let the previous champion serve again."""
    project, settings = cli.start()
    from mnistflow import promotion, registry
    from mnistflow import status as state

    name = registry.model_name(state.choose_dataset(project, settings, dataset))
    crowned = promotion.rollback(project, name)
    console.print(f"champion: {name} version {crowned.number} again ({crowned.quality})")
    _warn_of_rejected(crowned, "`mnistflow promote VERSION` names another.")


@app.command()
def canary(
    share: Annotated[str, typer.Argument(metavar="SHARE", help="Such as 10%, or off.")], dataset: DatasetOption = None
) -> None:
    """Let the challenger answer a share of the requests."""
    _try_out(dataset, canary=_share(share))


@app.command()
def shadow(
    switch: Annotated[str, typer.Argument(metavar="on|off")],
    dataset: DatasetOption = None,
) -> None:
    """Let the challenger work on a copy of the requests; nobody sees its answers."""
    if switch not in ("on", "off"):
        raise ConfigError(f"shadow is on or off, not {switch!r}", "Try `mnistflow shadow on`.")
    _try_out(dataset, shadow=switch == "on")


def _share(text: str) -> float:
    if text == "off":
        return 0.0
    percent = re.fullmatch(r"(\d+(?:\.\d+)?)%", text)
    if not percent or float(percent[1]) > 100:
        raise ConfigError(f"{text!r} is no share of the requests", "Try `mnistflow canary 10%`, or off.")
    return float(percent[1]) / 100


def _try_out(dataset: str | None, *, canary: float | None = None, shadow: bool | None = None) -> None:
    project, settings = cli.start()
    from mnistflow import promotion, registry
    from mnistflow import status as state

    name = registry.model_name(state.choose_dataset(project, settings, dataset))
    rollout = promotion.try_out(project, name, canary=canary, shadow=shadow)
    if rollout is None:
        console.print(f"{name}: the champion answers all requests, and no challenger gets copies")
        return
    console.print(f"{name}: {rollout}")
    if canary:
        tried = registry.find(name, rollout.challenger)
        _warn_of_rejected(tried, "`mnistflow canary off` and `shadow on` compare without risk.")


def _warn_of_rejected(version: "Version", mend: str) -> None:
    if version.decision == "reject":
        console.print(f"the gate rejected it: {'; '.join(version.reasons)}. {mend}")


@app.command()
def predict(images: Annotated[list[Path], typer.Argument(metavar="IMAGE...")], dataset: DatasetOption = None) -> None:
    """Say what the champion sees in PNG, JPEG, WebP or BMP files of any size."""
    project, settings = cli.start()
    from mnistflow import registry
    from mnistflow import status as state

    model = registry.model_name(state.choose_dataset(project, settings, dataset))
    _become("serving.classify", "--repository", str(project.models), "--model", model, *map(str, images))


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.", envvar="MNISTFLOW_SERVE_HOST")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes one that is free.", envvar="MNISTFLOW_SERVE_PORT")] = 8000,
) -> None:
    """Serve the champions of the model repository over HTTP; `mnistflow-serve` has all settings."""
    project, settings = cli.start()
    from flows import services
    from mnistflow import server

    if port:
        server.note(project, server.url(host, port))
    _become(*services.server_command(project, settings, host, port))


@app.command()
def schedule() -> None:
    """Run the deployments of prefect.yaml at their times until Ctrl-C."""
    project, _ = cli.start()
    from flows import services

    services.schedule(project)


@app.command()
def ui(host: Host = "127.0.0.1", port: int = 5000) -> None:
    """Start the MLflow UI."""
    project, _ = cli.start()
    from flows import services

    services.ui(project, host, port)


@app.command()
def up(host: Host = "127.0.0.1") -> None:
    """Start the MLflow UI, Prefect with the schedules, and the prediction server; Ctrl-C stops all."""
    project, settings = cli.start()
    from flows import services
    from mnistflow import promotion, registry
    from mnistflow import status as state

    promotion.reconcile(project, registry.model_name(state.current_dataset(project, settings)))

    services.up(project, settings, host)


def _become(module: str, *arguments: str) -> None:
    """Replace this process by another program of this project, so that signals and exit codes are its own."""
    sys.stdout.flush()
    try:
        os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606
    except OSError as error:
        raise MnistflowError(f"cannot start {module}: {error.strerror}", "Run `make setup`.") from error
