"""The command line has every command that the documentation names, and each module of commands is part of it."""

import re
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest
import typer
from typer.testing import CliRunner

from flows import cli
from flows.cli import app
from mnistflow.models import ModelConfig, families

ROOT = Path(__file__).parents[4]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]


def commands(application: typer.Typer) -> set[str]:
    functions = {one.callback: one.name for one in application.registered_commands if one.callback}
    names = {name or function.__name__.replace("_", "-") for function, name in functions.items()}
    return names | {str(group.name) for group in application.registered_groups}


def test_the_documentation_names_commands_that_exist() -> None:
    named = {name for path in DOCUMENTS for name in re.findall(r"`mnistflow ([a-z][a-z-]*)", path.read_text("utf-8"))}
    assert named
    assert named - commands(app.build()) == set()


def test_every_module_of_commands_is_composed() -> None:
    modules = [import_module(f"{cli.__name__}.{module.name}") for module in iter_modules(cli.__path__)]
    alone: set[str] = set()
    for module in modules:
        if hasattr(module, "register"):
            application = typer.Typer()
            module.register(application)
            alone |= commands(application)
    assert commands(app.build()) == alone


def test_models_shows_what_each_family_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shown = CliRunner().invoke(app.build(), ["models"])
    assert shown.exit_code == 0
    rows = [[cell.strip() for cell in line.split("│")] for line in shown.stdout.splitlines() if "│" in line]
    described: dict[str, str] = {}
    for _, name, summary, *_ in rows:
        if name:
            described[name] = summary
        else:  # the next line of a row
            last = next(reversed(described))
            described[last] = f"{described[last]} {summary}".strip()
    assert described == {name: ModelConfig().parameters_of(name).summary for name in families()}
