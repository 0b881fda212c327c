"""Commands that rank runs and versions: leaderboard, recommend."""

import csv
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.context import load_context
from flows.cli.options import DatasetOption, Json, console, counted, moment
from mnistflow.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from mnistflow.analysis.leaderboard import Row
    from mnistflow.tasks.identity import Headline

SHOWN = ("score", "errors", "loss", "robust", "run", "partial", "version", "parameters", "latency_ms", "pareto")
HEADINGS = {"file_megabytes": "MB", "latency_ms": "ms", "train_seconds": "train s"}
LONG = frozenset({"run", "name", "overrides"})
LEAST_IMPORTANT = ("parameters", "errors", "loss", "pareto", "latency_ms", "partial", "robust")  # least first
MIN_NAME_WIDTH, GAP = 16, 3  # columns of text
FORMATS = {"loss": ".4f", "parameters": ",", "file_megabytes": ".2f", "latency_ms": ".3f", "train_seconds": ".0f"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(leaderboard)
    app.command()(recommend)


def leaderboard(
    dataset: DatasetOption = None,
    experiment: Annotated[
        str | None, typer.Option("--experiment", help="MLflow experiment; by default, that of the data set.")
    ] = None,
    family: Annotated[str | None, typer.Option("--family", help="Only runs of this model family.")] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="TIME", help="Only runs since a time, such as 2026-11-29, or up to an age, such as 7d."
        ),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="KEY=VALUE", help="Only runs with this tag in MLflow; may be repeated."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option("--columns", metavar="A,B,C", help="Columns to show: keys of --json, metrics or parameters."),
    ] = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of runs.")] = 20,
) -> None:
    """Rank runs and versions, best first; runs with less data or fewer epochs are marked."""
    paths, settings = load_context()
    from mnistflow.analysis import leaderboard as ranking
    from mnistflow.registry import dataset_choice, versions

    name = dataset_choice.choose(paths, settings.fetch, dataset)
    since_ms = int(moment(since).timestamp() * 1000) if since else None
    rows = ranking.rank(name, ranking.Filters(experiment, family, since_ms, _tags(tag or ()), limit))
    chosen = [column.strip() for column in columns.split(",") if column.strip()] if columns else []
    ranking.check_columns(chosen, rows)
    if as_json:
        typer.echo(json.dumps([row.to_json(chosen or ranking.COLUMNS) for row in rows], indent=2))
    elif as_csv:
        _print_csv(rows, chosen or ranking.COLUMNS)
    elif not rows:
        train = f"`mnistflow retrain` with fetch.dataset={name} trains a model"
        typer.echo(f"{name}: no evaluated run, or none that matches the options. {train}.")
    else:
        headline = versions.task_of(name).headline
        console().print(_table(f"{name}: {counted(len(rows), 'run')}", rows, chosen, headline))


def recommend(
    max_ms: Annotated[
        float | None, typer.Option(min=0, help="Maximum latency of one input on one thread, in milliseconds.")
    ] = None,
    max_megabytes: Annotated[float | None, typer.Option(min=0, help="Maximum size of the ONNX file, in MB.")] = None,
    min_accuracy: Annotated[float | None, typer.Option(min=0, max=1, help="Minimum accuracy, 0 to 1.")] = None,
    min_robust: Annotated[
        float | None, typer.Option(min=0, max=1, help="Minimum accuracy under corruptions, 0 to 1.")
    ] = None,
    dataset: DatasetOption = None,
    as_json: Json = False,
) -> None:
    """Recommend the best version within limits on latency, size and accuracy."""
    paths, settings = load_context()
    from mnistflow.analysis import leaderboard as ranking
    from mnistflow.registry import dataset_choice, versions

    name = dataset_choice.choose(paths, settings.fetch, dataset)
    limits = ranking.Limits(max_ms, max_megabytes, min_accuracy, min_robust)
    row = ranking.recommend(ranking.rank(name), limits)
    if as_json:
        typer.echo(json.dumps(row.to_json(ranking.COLUMNS), indent=2))
        return
    headline = versions.task_of(name).headline
    figures = [
        f"{headline.name} {headline.format(row.score)}",
        *([] if row.robust is None else [f"{headline.format(row.robust)} under corruptions"]),
        *([] if row.latency_ms is None else [f"{row.latency_ms:.3f} ms"]),
        f"{row.file_megabytes:.2f} MB",
    ]
    typer.echo(f"{versions.model_name(name)} version {row.version} ({row.name}): {', '.join(figures)}")
    if versions.CHAMPION not in row.aliases:
        typer.echo(f"`mnistflow promote {row.version}` makes it champion.")


def _tags(assignments: Sequence[str]) -> dict[str, str]:
    found = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not key or not equals:
            raise ConfigError(f"tag {assignment!r} is not of the form key=value", "Try --tag mnistflow.preset=fast.")
        found[key] = value
    return found


def _print_csv(rows: "Sequence[Row]", columns: Sequence[str]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_plain(row.value(column)) for column in columns] for row in rows)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return " ".join(f"{key}={json.dumps(one)}" for key, one in value.items())
    return ", ".join(value) if isinstance(value, tuple) else value


def _table(title: str, rows: "Sequence[Row]", chosen: Sequence[str], headline: "Headline") -> "Table":
    """Return the rows as a table; by default, without the columns that are empty or too many for the terminal."""
    from rich import box
    from rich.table import Table

    columns = chosen or [column for column in SHOWN if column != "partial" or any(row.partial for row in rows)]
    cells = {column: [_cell(row, column, headline) for row in rows] for column in columns}
    if not chosen:
        _drop_until_narrower(cells, console().width, headline)
    # Long texts get what width the other columns leave, and are wrapped there.
    long = LONG & set(cells)
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, expand=bool(long))
    for column in cells:
        is_long = column in long
        table.add_column(
            _heading(column, headline),
            justify="left" if is_long or column in {"version", "partial"} else "right",
            no_wrap=not is_long,
            overflow="fold",
            ratio=1 if is_long else None,
        )
    for row in zip(*cells.values(), strict=True):
        table.add_row(*row)
    return table


def _drop_until_narrower(cells: "dict[str, list[RenderableType]]", width: int, headline: "Headline") -> None:
    """Drop columns, the least important first, until the others fit into a width and leave some for the run's name."""
    from rich.cells import cell_len

    def needed(column: str) -> int:
        texts = [_heading(column, headline), *cells[column]]
        return GAP + (MIN_NAME_WIDTH if column in LONG else max(cell_len(str(text)) for text in texts))

    for column in LEAST_IMPORTANT:
        if sum(map(needed, cells)) <= width:
            return
        cells.pop(column, None)


def _heading(column: str, headline: "Headline") -> str:
    return headline.name if column == "score" else HEADINGS.get(column, column)


def _run(row: "Row") -> "RenderableType":
    """Return the name of a run above its other overrides, or above their number if they do not fit into a line."""
    from rich.console import Group
    from rich.text import Text

    # The name states the overrides, unless they come from a preset or the run was given a name.
    others = {key: value for key, value in row.overrides.items() if f"{key.rpartition('.')[2]}={value}" not in row.name}
    others.pop("model.family", None)
    if not others:
        return Text(row.name)
    listed = _plain(others)
    return Group(Text(row.name), Text(listed if len(listed) <= MIN_NAME_WIDTH else f"{len(others)} overrides", "dim"))


def _cell(row: "Row", column: str, headline: "Headline") -> "RenderableType":
    from rich.markup import escape

    if column == "run":
        return _run(row)
    if column == "version":
        return " ".join(filter(None, [str(row.version or ""), ", ".join(row.aliases)]))
    value = row.value(column)
    if column == "pareto":
        return "front" if value else ""
    if value is None:
        return ""
    if column in {"score", "robust"}:
        return headline.format(value)
    return f"{value:{FORMATS[column]}}" if column in FORMATS else escape(str(_plain(value)))
