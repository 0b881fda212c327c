"""The command line has every command that the documentation names, and each module of commands is part of it."""

import re
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import typer

from flows import cli
from flows.cli import app

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
