"""Commands that look after a checkout over months: doctor, gc, backup, restore, migrate."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.context import load_context, load_fetch_context
from flows.cli.options import DatasetOption, Json, Overrides, console
from mnistflow import environment

if TYPE_CHECKING:
    from mnistflow.upkeep.gc.garbage import Garbage
    from mnistflow.upkeep.problems import Problem


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (doctor, gc, backup, restore, migrate):
        app.command()(command)


def doctor(
    repair: Annotated[bool, typer.Option("--repair", help="Repair what can be repaired automatically.")] = False,
    dataset: DatasetOption = None,
    as_json: Json = False,
) -> None:
    """Find what killed processes and full disks left behind; the exit code is 1 if anything is wrong."""
    paths, settings = load_context()
    from flows import checkup
    from mnistflow.registry import dataset_choice

    name = dataset_choice.choose_model(paths, settings.fetch, dataset)
    found = checkup.check(paths, name, settings.gc, repair=repair)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "wrong": [*map(_plain, found.left)],
                    "repaired": [*map(_plain, found.repaired)],
                    "failures": found.failures,
                },
                indent=2,
            )
        )
    else:
        repaired = (f"repaired: {one.what}" for one in found.repaired)
        for line in (*repaired, *map(str, found.left), *found.failures):
            typer.echo(line)
        if not found.left:
            typer.echo("nothing is wrong")
    if found.left:
        raise typer.Exit(1)


def migrate(
    to: Annotated[
        str, typer.Argument(metavar="DATABASE", help="Database to copy to, such as postgresql://user@host/mlflow.")
    ],
    artifacts: Annotated[
        str, typer.Argument(metavar="ARTIFACTS", help="Folder or URL to copy artifacts to, such as s3://bucket/mlflow.")
    ],
    from_artifacts: Annotated[
        str | None,
        typer.Option(metavar="ARTIFACTS", help="Where the artifacts are now, if a tracking server serves them."),
    ] = None,
    served: Annotated[
        bool,
        typer.Option(
            "--served", help="ARTIFACTS is the --artifacts-destination of a tracking server that will serve them."
        ),
    ] = False,
) -> None:
    """Copy runs, models and artifacts from MLflow's database to another one, such as from SQLite to PostgreSQL."""
    load_fetch_context()
    from mnistflow.tracking import migration

    done = migration.migrate(environment.tracking_uri(), to, from_artifacts, artifacts, served)
    rows = done.rows
    typer.echo(
        f"{rows['runs']} runs, {rows['registered_models']} models, {rows['model_versions']} versions, "
        f"{done.files} artifacts ({done.copied} copied now): read back, complete"
    )


def _plain(problem: "Problem") -> dict[str, object]:
    return {
        "subject": problem.subject,
        "problem": problem.message,
        "fix": problem.fix,
        "repairable": problem.repair is not None,
    }


def gc(
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete what is listed; without it, nothing is changed.")
    ] = False,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """List old runs, versions, folders, cached files and log rows that nothing references; --delete deletes them."""
    paths, settings = load_context(overrides)
    from flows import garbage_collection

    now, log = datetime.now(UTC), environment.inference_log()
    collected = garbage_collection.collect(paths, settings.gc, log, now, delete=delete)
    if as_json:
        typer.echo(json.dumps({"deleted": delete, "kinds": [asdict(one) for one in collected]}, indent=2))
    else:
        _print(collected, delete=delete)


def backup(file: Annotated[Path, typer.Argument(help="Archive to write, such as mnistflow.tar.gz.")]) -> None:
    """Back up var/ and dvc.lock while servers and retrainings run; files that commands regenerate are left out."""
    paths, _ = load_fetch_context()
    from rich.filesize import decimal

    from mnistflow.upkeep import backup as backups

    done = backups.write(paths, file)
    typer.echo(f"{file}: {done.files:,} files, {decimal(done.bytes)} before compression")
    if external := backups.external_stores(paths):
        _warn(f"not in var/, so not copied: {', '.join(external)}")
    if backups.has_postgresql(paths):
        _warn(f"not copied: PostgreSQL, in var/{backups.POSTGRESQL}. Back it up with pg_dump: docs/how-to/upkeep.md")
    if broken := backups.broken_links(paths):
        _warn(f"not copied, because the target of the link is missing: {', '.join(broken)}")


def restore(
    file: Annotated[Path, typer.Argument(help="Archive written by `mnistflow backup`.")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace the present contents of var/.")] = False,
) -> None:
    """Restore var/ from an archive of `mnistflow backup`."""
    from mnistflow.paths import Paths
    from mnistflow.upkeep import restoration

    paths = Paths.locate()
    done = restoration.restore(paths, file, replace=replace)
    environment.configure(paths)
    typer.echo(f"{done.files:,} files restored to {paths.var}. Next: mnistflow status")


def _warn(problem: str) -> None:
    typer.secho(f"warning: {problem}", fg=typer.colors.YELLOW, err=True)


def _print(collected: "Iterator[Garbage]", *, delete: bool) -> None:
    """Print a row of a table for each kind, as soon as it is known: an error may follow what was removed already."""
    from rich.filesize import decimal
    from rich.table import Table

    table = Table("kind", "removed" if delete else "to remove", "size", "what stays")
    count = 0
    try:
        for one in collected:
            kept = ", ".join(f"{number:,} {reason}" for reason, number in one.kept.items())
            table.add_row(one.kind, f"{one.count:,}", "unknown" if one.bytes is None else decimal(one.bytes), kept)
            count += one.count
    finally:
        console().print(table)
    if count and not delete:
        typer.echo("nothing was deleted: `mnistflow gc --delete` does that; `--json` lists each object")
