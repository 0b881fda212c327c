"""Command line reference: every command of `mnistflow` with its arguments and options, from Typer's own tree."""

from typing import Any

import markup
import typer
from typer.core import TyperGroup

from flows.cli.app import build

HELP = "--help"


def page() -> str:
    """Return the page."""
    root = typer.main.get_command(build())
    if not isinstance(root, TyperGroup):
        raise TypeError("the command line has no commands")
    context = root.context_class(root, info_name="mnistflow")
    commands = dict(sorted(root.commands.items()))
    overview = [(f"[`{name}`](#{name})", _summary(command)) for name, command in commands.items()]
    return markup.page(
        "Command line",
        "flows/cli",
        "[`mnistflow-serve`](server-settings.md) has a page of its own. Every command has `--help`. "
        "An error is one line on standard error and exit code 1.",
        _parameters(root, context),
        markup.table(["command", "what it does"], overview),
        *(_section(name, command, context) for name, command in commands.items()),
    )


def _summary(command: Any) -> str:
    return str(command.help or "").split("\n\n", maxsplit=1)[0]


def _section(name: str, command: Any, root: Any) -> str:
    context = command.context_class(command, info_name=name, parent=root)
    usage = f"```\n{command.get_usage(context).removeprefix('Usage: ')}\n```"
    return "\n\n".join(filter(None, [f"## {name}", command.help or "", usage, _parameters(command, context)]))


def _parameters(command: Any, context: Any) -> str:
    records = filter(None, (parameter.get_help_record(context) for parameter in command.get_params(context)))
    rows = [(markup.code(names), meaning) for names, meaning in records if not names.startswith(HELP)]
    return markup.table(["argument or option", "meaning"], rows) if rows else ""
