"""Settings of the server: options of the command line, then environment variables, then defaults."""

import argparse
import difflib
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from serving.errors import StartError

ENVIRONMENT_PREFIX = "MNISTFLOW_SERVE_"
# Set by the supervisor for its workers, see serving/process/supervisor.py.
INTERNAL_VARIABLES = frozenset(ENVIRONMENT_PREFIX + name for name in ("LISTENER", "PARENT", "SHARED"))
# Kubernetes sets variables for every Service of a namespace. Those of a Service called `mnistflow-serve` or
# `mnistflow-serve-...` begin with the prefix, and are not meant for this server:
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
KUBERNETES_NAME = re.compile(
    rf"{ENVIRONMENT_PREFIX}(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
# One of them has the name of a setting: MNISTFLOW_SERVE_PORT=tcp://10.0.0.11:8000.
KUBERNETES_PORT = re.compile(r"(tcp|udp|sctp)://\S+")


@dataclass(frozen=True)
class Setting:
    """Documentation and limits of a setting.

    Attributes:
        meaning: shown by `--help` and in the reference.
        minimum: the least value of a number.
        choices: the values that a text may have; empty for any.
    """

    meaning: str
    minimum: float | None = None
    choices: Sequence[str] = ()


@dataclass(frozen=True)
class Settings:
    """All settings. `--poll-seconds` on the command line is `MNISTFLOW_SERVE_POLL_SECONDS` in the environment."""

    repository: Annotated[Path, Setting("folder of the model repository")] = Path("var/models")
    public_key: Annotated[
        str,
        Setting(
            "file with a public key (PEM) on the curve P-256, P-384 or P-521: only versions whose `model.sig` was made "
            "with the private key are served; empty to serve all versions; needs the extra `verify`"
        ),
    ] = ""
    host: Annotated[str, Setting("address to listen on")] = "127.0.0.1"
    port: Annotated[int, Setting("port to listen on; 0 chooses a free one", 0)] = 8000
    uds: Annotated[str, Setting("path of a Unix socket to listen on instead of host and port; empty for none")] = ""
    grpc_port: Annotated[int, Setting("port of the gRPC service; 0 to disable it; needs the extra `grpc`", 0)] = 0
    tls_cert: Annotated[
        str,
        Setting(
            "file with the certificate chain (PEM) for TLS on both ports; reloaded when it changes; empty for no TLS"
        ),
    ] = ""
    tls_key: Annotated[str, Setting("file with the private key of `--tls-cert` (PEM), not encrypted")] = ""
    model: Annotated[
        str,
        Setting(
            "default model, for /predict, /invocations and the web page; "
            "empty for the only model, or the one with the oldest first version"
        ),
    ] = ""
    poll_seconds: Annotated[float, Setting("seconds between polls of the model repository for new champions", 0.01)] = (
        0.5
    )
    slowest_seconds: Annotated[
        float, Setting("maximum seconds of inference on one row; slower versions are refused", 0)
    ] = 0.25
    candidate_seconds: Annotated[
        float, Setting("maximum seconds to load and validate a version; slower versions are refused", 0.1)
    ] = 10.0
    candidate_bytes: Annotated[
        int, Setting("maximum bytes of address space to load and validate a version; larger versions are refused", 1)
    ] = 4 * 1024**3
    rollout_seconds: Annotated[
        float, Setting("seconds that a challenger may take for a canary request before the champion answers it", 0.001)
    ] = 0.1
    rollout_bad_share: Annotated[
        float,
        Setting(
            "maximum share of a challenger's last 200 calls that fail or exceed `--rollout-seconds`, 0 to 1; "
            "above it the challenger is withdrawn",
            0,
        ),
    ] = 0.05
    resident_versions: Annotated[
        int,
        Setting("versions kept in memory besides champions, challengers and previous champions", 1),
    ] = 4
    max_body_bytes: Annotated[int, Setting("maximum size of a request body, in bytes, after decompression", 1024)] = (
        8 * 1024 * 1024
    )
    max_pixels: Annotated[int, Setting("maximum size of an image, in pixels (width times height)", 784)] = 16_000_000
    max_rows: Annotated[int, Setting("maximum rows, such as images, in one request", 1)] = 1024
    batch_rows: Annotated[int, Setting("maximum rows in a batch of several requests", 1)] = 64
    queue_rows: Annotated[
        int,
        Setting(
            "maximum rows in the queue of a version, and image files in the queue of `/predict`; "
            "further requests get status 503",
            1,
        ),
    ] = 4096
    queue_seconds: Annotated[
        float, Setting("seconds that a request may wait in a queue before it gets status 504", 0.001)
    ] = 5.0
    keys: Annotated[
        str,
        Setting("API keys of clients, separated by commas; empty for open access; set secrets in the environment"),
    ] = ""
    admin_keys: Annotated[
        str,
        Setting(
            "API keys of admins, who may load or unload models and review feedback, separated by commas; empty for none"
        ),
    ] = ""
    cors_origins: Annotated[
        str,
        Setting("origins whose web pages may call the server (CORS), separated by commas; * for all; empty for none"),
    ] = ""
    inference_log: Annotated[
        str,
        Setting(
            "inference log: SQLite file or PostgreSQL URL for a sample of images, their predictions, and feedback; "
            "empty for none"
        ),
    ] = ""
    logged_per_second: Annotated[float, Setting("maximum images logged per second", 0.001)] = 50.0
    logged_rows: Annotated[
        int, Setting("maximum images in the inference log; older ones without feedback are deleted", 1)
    ] = 100_000
    log_format: Annotated[
        str, Setting("format of log lines; json adds a line for every request", choices=("text", "json"))
    ] = "text"
    workers: Annotated[int, Setting("worker processes sharing the address; 0 for one per core", 0)] = 1
    threads: Annotated[
        int,
        Setting(
            "batches that each worker runs in parallel, and as many conversions of images; "
            "0 for its share of the cores",
            0,
        ),
    ] = 0
    max_connections: Annotated[
        int, Setting("maximum open connections per worker; further ones get status 503 and are closed", 1)
    ] = 1000
    max_head_bytes: Annotated[int, Setting("maximum size of the request line and headers, in bytes", 1024)] = 64 * 1024
    receive_seconds: Annotated[
        float, Setting("timeout in seconds for receiving a request's headers, and then its body", 0.1)
    ] = 10.0
    drain_seconds: Annotated[float, Setting("seconds for running requests to finish when the server stops", 0)] = 10.0

    @classmethod
    def parse(cls, arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings.

        Raises:
            StartError: a value is of the wrong type or too small, or a variable with the prefix is not a setting.
            SystemExit: an option is unknown, or `--help` or `--version` was given.
        """
        settings = _settings(cls)
        given = vars(_parser(cls).parse_args(arguments))
        if given["version"]:
            sys.stdout.write(f"mnistflow-serve {own_version()}\n")
            sys.exit(0)
        _check_variables(environment, settings)
        values = {}
        for name, (kind, setting) in settings.items():
            text = given[name] if given[name] is not None else _variable(environment, name)
            if text is not None:
                values[name] = _converted(name, kind, text, setting)
        return cls(**values)


def own_version() -> str:
    """Return the version of this package; `unknown` where it runs without being installed."""
    # Imported here, because a server without it starts sooner, and its validation process even earlier.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mnistflow")
    except PackageNotFoundError:
        return "unknown"


def _settings(cls: type[Settings]) -> dict[str, tuple[type[Any], Setting]]:
    hints = get_type_hints(cls, include_extras=True)
    return {name: (hint.__origin__, hint.__metadata__[0]) for name, hint in hints.items()}


def _parser(cls: type[Settings]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mnistflow-serve",
        description="Serve the champions of a model repository over HTTP and gRPC.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    defaults = {entry.name: entry.default for entry in fields(cls)}
    for name, (_, setting) in _settings(cls).items():
        parser.add_argument(_option(name), metavar="VALUE", help=f"{setting.meaning} (default: {defaults[name]})")
    return parser


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _variable(environment: Mapping[str, str], name: str) -> str | None:
    text = environment.get(ENVIRONMENT_PREFIX + name.upper())
    if text is not None and name.endswith("port") and KUBERNETES_PORT.fullmatch(text):
        return None
    return text


def _check_variables(environment: Mapping[str, str], settings: Mapping[str, object]) -> None:
    """Raise StartError for the first variable with the prefix that is neither a setting nor set by Kubernetes."""
    known = {name.upper() for name in settings}
    for variable in sorted(environment):
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        if name == variable or name in known or variable in INTERNAL_VARIABLES:
            continue
        is_port = variable.endswith("_PORT") and KUBERNETES_PORT.fullmatch(environment[variable])
        if is_port or KUBERNETES_NAME.fullmatch(variable):
            continue
        similar = difflib.get_close_matches(name, known, 1)
        fix = (
            f"Did you mean {ENVIRONMENT_PREFIX}{similar[0]}?"
            if similar
            else "Remove it; `mnistflow-serve --help` lists the settings."
        )
        raise StartError(f"the environment variable {variable} is not a setting of the server. {fix}")


def _converted(name: str, kind: type[Any], text: str, setting: Setting) -> Any:
    try:
        value = kind(text)
    except ValueError:
        number = "a whole number" if kind is int else "a number"
        raise StartError(f"{_option(name)} is {text!r}. Give {number}.") from None
    if setting.minimum is not None and not setting.minimum <= value < math.inf:
        raise StartError(f"{_option(name)} is {text}. Give at least {setting.minimum}.")
    if setting.choices and value not in setting.choices:
        raise StartError(f"{_option(name)} is {text!r}. Give one of: {', '.join(setting.choices)}.")
    if name.endswith("port") and value > 65535:
        raise StartError(f"{_option(name)} is {text}. Give a port from 0 to 65535.")
    return value
