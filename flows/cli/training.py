"""Commands that train: retrain, sweep, ingest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.panel import Panel

from flows.cli.context import load_context, resumable
from flows.cli.options import Json, Overrides, Preset, console, dataset_option
from mnistflow import logs
from mnistflow.errors import ConfigError, MnistflowError

if TYPE_CHECKING:
    from flows.outcome import Outcome
    from mnistflow.config import Config
    from mnistflow.paths import Paths
    from mnistflow.registry.versions import Version


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (retrain, sweep, ingest):
        app.command()(command)


def retrain(
    overrides: Overrides = None,
    preset: Preset = None,
    name: Annotated[str | None, typer.Option(help="Name of the run in MLflow; by default, its parameters.")] = None,
    note: Annotated[str | None, typer.Option(help="Description of the run in MLflow, in Markdown.")] = None,
    register: Annotated[
        bool,
        typer.Option("--register/--no-register", help="Register the model, or only evaluate and record it."),
    ] = True,
    experiment: Annotated[
        str | None, typer.Option(help="MLflow experiment to log the run to; by default, that of the data set.")
    ] = None,
    commit: Annotated[bool, typer.Option("--commit", help="Commit dvc.lock, which records the run, to git.")] = False,
) -> None:
    """Run the whole pipeline: fetch, prepare, tune, train, export, evaluate, register, promote or hold, publish."""
    logs.log_to_terminal()
    paths, base = load_context()
    from flows.orchestration import api_server

    # First, because a server of this command starts while this process imports the rest.
    prefect = api_server.connect(paths)
    from mnistflow.pipeline import run_plan

    chosen, values, settings = _chosen(base, preset, overrides)
    if commit:
        _require_commit_possible(paths, values)
    run_plan.check_family(settings, settings.fetch.dataset)
    from flows.orchestration import lifecycle, log_filters
    from flows.retrain import retrain as flow

    with resumable(), prefect.answering(), lifecycle.interruptible(), log_filters.short_log(links=not prefect.own):
        outcome = flow(**chosen, name=name, note=note, register_model=register, experiment=experiment)
    _print_outcome(outcome, settings.fetch.dataset)
    if commit:
        _commit(paths, outcome)
    if outcome.gate:
        _print_champion(paths, outcome, outcome.gate.version, base.fetch.dataset)


def _print_outcome(outcome: Outcome, requested: str) -> None:
    from flows import report
    from mnistflow.data import fetch

    if outcome.plan.is_fallback:
        warning = fetch.fallback_warning(requested, outcome.dataset)
        console().print(Panel(warning, title="WARNING", style="bold yellow", expand=False))
    for warning in outcome.plan.warnings:
        console().print(f"WARNING: {warning}", style="yellow", markup=False)
    console().print(Panel("\n".join(report.reasons(outcome)), title=report.summary_line(outcome), expand=False))


def _print_champion(paths: Paths, outcome: Outcome, version: Version, default: str) -> None:
    """Print which version serves, or how to promote this one; `default` is the data set of params.yaml."""
    from flows.cli.status_lines import after_publishing
    from mnistflow import server_client

    if outcome.champion is None:
        other = dataset_option(outcome.dataset if outcome.dataset != default else None)
        console().print(f"champion: none yet; to overrule the gate: `mnistflow promote {version.number}{other}`")
    else:
        servers = server_client.fetch_status(paths, version.name)
        following = after_publishing(version.name, outcome.champion, servers)
        console().print(f"champion: {version.name} version {outcome.champion}, in var/models. {following}")


def _require_commit_possible(paths: Paths, overrides: dict[str, Any]) -> None:
    from mnistflow.pipeline import lock_commit

    if overrides:
        raise ConfigError(
            "--commit: a run with overrides does not change dvc.lock",
            "Write them to params.yaml and commit that, then run `mnistflow retrain --commit`.",
        )
    lock_commit.require_commit_possible(paths)


def _commit(paths: Paths, outcome: Outcome) -> None:
    from flows import report
    from mnistflow.pipeline import lock_commit

    if outcome.plan.is_fallback:
        raise ConfigError(
            f"--commit: dvc.lock is not committed, because it records {outcome.dataset} instead of "
            f"{outcome.plan.requested_dataset}",
            "Run the command again when a mirror is available.",
        )
    done = lock_commit.commit(paths, report.commit_message(outcome))
    console().print(f"dvc.lock: commit {done}" if done else "dvc.lock: committed already")


def sweep(
    families: Annotated[str, typer.Option(help="`all`, or names separated by commas.")] = "all",
    overrides: Overrides = None,
    preset: Preset = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs per family, each with a different seed.")] = 1,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; by default, as many as cores and memory allow.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train several model families and compare them; nothing is registered or promoted."""
    logs.log_to_terminal()
    paths, base = load_context()
    _, values, settings = _chosen(base, preset, overrides, without=["model.family"])
    from flows import report
    from flows.sweep import plan
    from flows.sweep import sweep as sweeps

    names = plan.choose_families(families, settings)
    with resumable():
        result = sweeps.sweep(paths, names, values, seeds, jobs)
    if as_json:
        typer.echo(json.dumps({**asdict(result), "folder": str(result.folder)}, indent=2))
    else:
        console().print(report.sweep(result))
        console().print(f"plot: {result.folder / 'pareto.png'}, and in MLflow run {result.run_id}")
    if result.failed:
        reasons = "; ".join(f"{run}: {reason}" for run, reason in result.failed.items())
        total = len(names) * seeds
        raise MnistflowError(
            f"{len(result.failed)} of {total} runs failed: {reasons}", "Fix the cause and run the same command again."
        )


def ingest() -> None:
    """Fetch and prepare the data, version it, and push it to DVC's remote."""
    logs.log_to_terminal()
    paths, _ = load_context()
    from flows.orchestration import api_server

    prefect = api_server.connect(paths)
    from flows.ingest import ingest as flow
    from flows.orchestration import lifecycle, log_filters

    with resumable(), prefect.answering(), lifecycle.interruptible(), log_filters.short_log(links=not prefect.own):
        stages = flow()
    done = ", ".join(f"{stage.stage} {'done' if stage.executed else 'unchanged'}" for stage in stages)
    console().print(f"{done}, and in DVC's remote")


def _chosen(
    base: Config, presets: list[str] | None, overrides: list[str] | None, without: Sequence[str] = ()
) -> tuple[dict[str, Any], dict[str, Any], Config]:
    """Return parameters of the retrain flow, the values that they stand for, and the settings that they result in.

    Args:
        without: keys of presets to ignore.

    Raises:
        ConfigError: there is no such preset, key, value or data set.
    """
    from flows import parameters
    from mnistflow import config
    from mnistflow.data import catalog
    from mnistflow.data.entry import source_of

    if presets and len(presets) > 1:
        raise ConfigError(
            f"--preset is given twice: {', '.join(presets)}", "Use one preset, and override single values with -S."
        )
    assigned = config.parse_overrides(overrides or [])
    chosen = {"preset": presets[0] if presets else None, "overrides": assigned}
    values = parameters.values(base, chosen)
    values = {key: value for key, value in values.items() if key in assigned or key not in without}
    settings = base.with_values(values)
    if source_of(settings.fetch.dataset) not in settings.fetch.own:
        catalog.get(settings.fetch.dataset)
    return chosen, values, settings
