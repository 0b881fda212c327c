"""Commands that decide which version serves: promote, rollback, canary, shadow."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.context import load_context
from flows.cli.options import DatasetOption, console
from mnistflow.errors import ConfigError

if TYPE_CHECKING:
    from mnistflow.registry.versions import Version


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (promote, rollback, canary, shadow):
        app.command()(command)


def promote(version: int, dataset: DatasetOption = None) -> None:
    """Make a version the champion by hand, whatever the gate said."""
    paths, settings = load_context()
    from mnistflow.registry import promotion, versions
    from mnistflow.registry import status as state

    name = versions.model_name(state.choose_dataset(paths, settings.fetch, dataset))
    crowned = promotion.promote(paths, name, version)
    console.print(f"champion: {name} version {crowned.number} ({crowned.quality})")
    _warn_of_rejected(crowned, "`mnistflow rollback` takes it back.")


def rollback(dataset: DatasetOption = None) -> None:
    """Let the previous champion serve again."""
    paths, settings = load_context()
    from mnistflow.registry import promotion, versions
    from mnistflow.registry import status as state

    name = versions.model_name(state.choose_dataset(paths, settings.fetch, dataset))
    crowned = promotion.rollback(paths, name)
    console.print(f"champion: {name} version {crowned.number} again ({crowned.quality})")
    _warn_of_rejected(crowned, "`mnistflow promote VERSION` names another.")


def canary(
    share: Annotated[str, typer.Argument(metavar="SHARE", help="Such as 10%, or off.")], dataset: DatasetOption = None
) -> None:
    """Let the challenger answer a share of the requests."""
    _try_out(dataset, canary=_share(share))


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
    paths, settings = load_context()
    from mnistflow.registry import promotion, versions
    from mnistflow.registry import status as state

    name = versions.model_name(state.choose_dataset(paths, settings.fetch, dataset))
    rollout = promotion.try_out(paths, name, canary=canary, shadow=shadow)
    if rollout is None:
        console.print(f"{name}: the champion answers all requests, and no challenger gets copies")
        return
    console.print(f"{name}: {rollout}")
    if canary:
        tried = versions.find(name, rollout.challenger)
        _warn_of_rejected(tried, "`mnistflow canary off` and `shadow on` compare without risk.")


def _warn_of_rejected(version: "Version", fix: str) -> None:
    if version.decision == "reject":
        console.print(f"the gate rejected it: {'; '.join(version.reasons)}. {fix}")
