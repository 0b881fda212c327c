"""Every setting of the server, in one typed place: command line first, then the environment, then the default."""

import argparse
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from serving.errors import StartError

ENVIRONMENT_PREFIX = "MNISTFLOW_SERVE_"


@dataclass(frozen=True)
class Setting:
    """What is said of a setting in the help, and its least value, or all values that it may have."""

    meaning: str
    minimum: float | None = None
    choices: Sequence[str] = ()


@dataclass(frozen=True)
class Settings:
    """What can be set. `--poll-seconds` on the command line is `MNISTFLOW_SERVE_POLL_SECONDS` in the environment."""

    repository: Annotated[Path, Setting("folder of the model repository")] = Path("var/models")
    host: Annotated[str, Setting("address to listen on")] = "127.0.0.1"
    port: Annotated[int, Setting("port to listen on; 0 takes a free one", 0)] = 8000
    grpc_port: Annotated[int, Setting("port of the gRPC service, which needs the extra grpc; 0 for none", 0)] = 0
    model: Annotated[
        str, Setting("model behind /predict and the page; default: the only one, or the newest champion")
    ] = ""
    poll_seconds: Annotated[float, Setting("how often the repository is looked at for new champions", 0.01)] = 0.5
    slowest_seconds: Annotated[float, Setting("how long a model may take for one row; slower ones are refused", 0)] = (
        0.25
    )
    candidate_seconds: Annotated[
        float, Setting("how long a version may take to be loaded and checked before it serves", 0.1)
    ] = 10.0
    candidate_bytes: Annotated[int, Setting("memory that a version may take while it is loaded and checked", 1)] = (
        4 * 1024**3
    )
    rollout_seconds: Annotated[
        float, Setting("how long a challenger may take for an answer; the champion gives it then", 0.001)
    ] = 0.1
    rollout_bad_share: Annotated[
        float, Setting("share of a challenger's calls that may fail or take too long; with more it is withdrawn", 0)
    ] = 0.05
    resident_versions: Annotated[
        int, Setting("versions kept in memory besides the champions and those before them", 1)
    ] = 4
    max_body_bytes: Annotated[int, Setting("largest request body", 1024)] = 8 * 1024 * 1024
    max_pixels: Annotated[int, Setting("largest image, width times height", 784)] = 16_000_000
    max_rows: Annotated[int, Setting("largest batch in one request", 1)] = 1024
    batch_rows: Annotated[int, Setting("rows of several requests that are run together", 1)] = 64
    queue_rows: Annotated[int, Setting("rows that may wait for a model before requests are turned away", 1)] = 4096
    queue_seconds: Annotated[float, Setting("how long a request may wait for its turn", 0.001)] = 5.0
    keys: Annotated[str, Setting("keys of clients, with commas between; better set in the environment")] = ""
    admin_keys: Annotated[
        str, Setting("keys of admins, with commas between; without any, nobody loads or unloads models")
    ] = ""
    cors_origins: Annotated[
        str, Setting("origins whose pages may call from a browser, with commas between; * for all")
    ] = ""
    inference_log: Annotated[
        str,
        Setting(
            "SQLite file or PostgreSQL URL for a sample of what is asked and answered, and for feedback; empty for none"
        ),
    ] = ""
    logged_per_second: Annotated[float, Setting("pictures a second that are logged at most", 0.001)] = 50.0
    logged_rows: Annotated[int, Setting("pictures kept in the log; older ones without feedback are deleted", 1)] = (
        100_000
    )
    log_format: Annotated[str, Setting("text, or json: a line for every request as well", choices=("text", "json"))] = (
        "text"
    )
    workers: Annotated[int, Setting("processes that share the address; 0 for one per core", 0)] = 1
    threads: Annotated[int, Setting("batches that each process may run at once; 0 for its share of the cores", 0)] = 0
    max_connections: Annotated[
        int, Setting("connections that each process may hold; more are answered 503 and closed", 1)
    ] = 1000
    max_head_bytes: Annotated[int, Setting("largest head of a request", 1024)] = 64 * 1024
    receive_seconds: Annotated[float, Setting("time in which a request's head, and its body, has to arrive", 0.1)] = (
        10.0
    )
    drain_seconds: Annotated[float, Setting("time that running requests get when the server stops", 0)] = 10.0

    @classmethod
    def parse(cls, arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings.

        Raises:
            StartError: a value is of the wrong type or too small.
            SystemExit: an argument is unknown, or help or the version was asked for.
        """
        parser = argparse.ArgumentParser(
            prog="mnistflow-serve", description="Serve the champions of a repository.", allow_abbrev=False
        )
        parser.add_argument("--version", action="store_true", help="show the version and exit")
        settings = _settings(cls)
        defaults = {entry.name: entry.default for entry in fields(cls)}
        for name, (_, setting) in settings.items():
            meaning = f"{setting.meaning} (default: {defaults[name]})"
            parser.add_argument(_option(name), metavar="VALUE", help=meaning)
        given = vars(parser.parse_args(arguments))
        if given["version"]:
            sys.stdout.write(f"mnistflow-serve {own_version()}\n")
            sys.exit(0)
        values = {}
        for name, (kind, setting) in settings.items():
            text = given[name]
            if text is None:
                text = environment.get(ENVIRONMENT_PREFIX + name.upper())
            if text is not None:
                values[name] = _converted(name, kind, text, setting)
        return cls(**values)


def own_version() -> str:
    """Return the version of this package; `unknown` where it runs without being installed."""
    # Not above: a server starts sooner without, and its validator before anybody asks.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mnistflow")
    except PackageNotFoundError:
        return "unknown"


def _settings(cls: type[Settings]) -> dict[str, tuple[type[Any], Setting]]:
    hints = get_type_hints(cls, include_extras=True)
    return {name: (hint.__origin__, hint.__metadata__[0]) for name, hint in hints.items()}


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _converted(name: str, kind: type[Any], text: str, setting: Setting) -> Any:
    try:
        value = kind(text)
    except ValueError:
        raise StartError(f"{_option(name)} is {text!r}, which is no {kind.__name__}. Give a number.") from None
    if setting.minimum is not None and not setting.minimum <= value < math.inf:
        raise StartError(f"{_option(name)} is {text}. Give at least {setting.minimum}.")
    if setting.choices and value not in setting.choices:
        raise StartError(f"{_option(name)} is {text!r}. Give one of: {', '.join(setting.choices)}.")
    if name.endswith("port") and value > 65535:
        raise StartError(f"{_option(name)} is {text}. Give one from 0 to 65535.")
    return value
