"""Commands that decide which version serves: promote, rollback, canary, shadow."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.context import load_context, notify
from flows.cli.options import DatasetOption, VersionNumber, console, dataset_option
from mnistflow.errors import ConfigError

if TYPE_CHECKING:
    from mnistflow.paths import Paths
    from mnistflow.registry.versions import Version

VersionOption = Annotated[
    int | None,
    typer.Option("--version", metavar="N", min=1, help="Version to use instead of the challenger."),
]

Because = Annotated[str, typer.Option(metavar="REASON", help="Reason, which `mnistflow history` shows with your name.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (promote, rollback, canary, shadow):
        app.command()(command)


def promote(version: VersionNumber, dataset: DatasetOption = None, because: Because = "") -> None:
    """Make a version the champion, whatever the gate decided."""
    paths, name = _model(dataset)
    from mnistflow.registry import history, promotion, versions

    champion = promotion.promote(paths, name, version, because)
    console().print(f"champion: {name} version {champion.number} ({champion.quality}), read back from MLflow")
    notify(paths, "promoted", name, f"promoted by hand: {name} version {champion.number}, {champion.quality}")
    fix = ""
    if champion.decision == "reject" and history.earlier_champion(versions.all_versions(name), champion.number):
        fix = f"`mnistflow rollback{dataset_option(dataset)}` returns to the version before."
    _warn_of_rejected(champion, fix)


def rollback(dataset: DatasetOption = None, because: Because = "") -> None:
    """Make the previous champion the champion again; repeat to go further back."""
    paths, name = _model(dataset)
    from mnistflow.registry import aliases, promotion

    champion = promotion.rollback(paths, name, because)
    move = aliases.last_move(name)
    console().print(f"champion: {name} version {champion.number} again ({champion.quality}), read back from MLflow")
    back = f"version {champion.number} serves again, {champion.quality}"
    notify(paths, "withdrawn", name, f"withdrawn: {name} version {move.replaced if move else '?'}: {back}")
    _warn_of_rejected(champion, f"`mnistflow promote VERSION{dataset_option(dataset)}` chooses another.")


def canary(
    share: Annotated[str, typer.Argument(metavar="SHARE", help="Share of the requests, such as 10%, or off.")],
    version: VersionOption = None,
    dataset: DatasetOption = None,
) -> None:
    """Route a share of the requests to the challenger, or to another version."""
    _set_rollout(dataset, version, canary=_share(share))


def shadow(
    switch: Annotated[str, typer.Argument(metavar="on|off", help="Whether to copy requests.")],
    version: VersionOption = None,
    dataset: DatasetOption = None,
) -> None:
    """Send a copy of the requests to the challenger, or to another version; its predictions are only compared."""
    if switch not in ("on", "off"):
        raise ConfigError(f"the argument is on or off, not {switch!r}", "Try `mnistflow shadow on`.")
    _set_rollout(dataset, version, shadow=switch == "on")


def _share(text: str) -> float:
    if text == "off":
        return 0.0
    percent = re.fullmatch(r"(\d+(?:\.\d+)?)%", text)
    if not percent or float(percent[1]) > 100:
        raise ConfigError(f"{text!r} is not a share of the requests", "Try `mnistflow canary 10%`, or off.")
    return float(percent[1]) / 100


def _set_rollout(
    dataset: str | None, version: int | None, *, canary: float | None = None, shadow: bool | None = None
) -> None:
    paths, name = _model(dataset)
    from mnistflow.registry import promotion, versions

    rollout = promotion.change_rollout(paths, name, canary=canary, shadow=shadow, number=version)
    if rollout is None:
        console().print(f"{name}: the champion answers all requests; there is no rollout")
        return
    console().print(f"{name}: {rollout}")
    if canary or shadow:
        option = dataset_option(dataset)
        fix = (
            f"`mnistflow canary off{option}` stops it; `mnistflow shadow on{option}` compares it without answering "
            "requests."
            if canary
            else ""
        )
        _warn_of_rejected(versions.find(name, rollout.challenger), fix)


def _model(dataset: str | None) -> "tuple[Paths, str]":
    """Return the paths of the checkout, and the registered name of the models of a data set."""
    paths, settings = load_context()
    from mnistflow.registry import dataset_choice

    return paths, dataset_choice.choose_model(paths, settings.fetch, dataset)


def _warn_of_rejected(version: "Version", fix: str) -> None:
    if version.decision == "reject":
        console().print(f"warning: the gate rejected it: {'; '.join(version.reasons)}. {fix}".rstrip())
