"""Address of the Prefect API: the configured one, or the one that a running `schedule` or `up` has recorded."""

from __future__ import annotations

import os
from base64 import b64encode
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from flows.processes import probes
from mnistflow import files
from mnistflow.errors import DataError, MnistflowError
from mnistflow.paths import Paths
from mnistflow.process_identity import ProcessIdentity

API_VARIABLE = "PREFECT_API_URL"
PROBE_SECONDS = 2
ANSWER_SECONDS = 10.0  # a server under load answers within this time; one that hangs never does


@dataclass(frozen=True)
class _ServerRecord:
    """What a running `schedule` or `up` records for other commands.

    Attributes:
        checkout: folder of the checkout that it runs in. `var/` may have been moved or copied since.
        url: of the Prefect API; None after its end.
        process: that runs them.
    """

    checkout: str
    url: str | None
    process: ProcessIdentity


def running_server(paths: Paths) -> str | None:
    """Return the address of the Prefect API in use: the configured one, or that of a running `schedule` or `up`."""
    return os.environ.get(API_VARIABLE) or _recorded_server(paths)


def configured_server() -> str | None:
    """Return the address in `PREFECT_API_URL`, if it is set, after making sure that a Prefect API answers there.

    Prefect itself tries again for two minutes.

    Raises:
        MnistflowError: nothing answers within seconds.
    """
    url = os.environ.get(API_VARIABLE)
    if url and (problem := _problem(url)):
        raise MnistflowError(
            f"no Prefect API answers at {API_VARIABLE}={url}: {problem}", "Start that server, or unset the variable."
        )
    return url


def answers(url: str) -> bool:
    """Return whether the Prefect API at this address is healthy."""
    return not _problem(url, PROBE_SECONDS)


def _problem(url: str, seconds: float = ANSWER_SECONDS) -> str:
    """Return why a Prefect API is not healthy; empty if it is."""
    try:
        with httpx.stream("GET", f"{url}/health", timeout=seconds, verify=probes.needs_certificates(url)) as answer:
            return "" if answer.is_success else f"HTTP status {answer.status_code}"
    except httpx.TimeoutException:
        return f"no answer within {seconds:g} s"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return str(error)


def authorization() -> dict[str, str]:
    """Return the headers with the credentials for the Prefect API that Prefect's own variables name."""
    if key := os.environ.get("PREFECT_API_KEY"):
        return {"Authorization": f"Bearer {key}"}
    if pair := os.environ.get("PREFECT_API_AUTH_STRING"):
        return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
    return {}


def claim(paths: Paths) -> AbstractContextManager[bool]:
    """Lock the schedules of this checkout for the block; yields False if another process holds them."""
    return files.claim(_record_file(paths).with_suffix(".lock"))


def record_server(paths: Paths, url: str) -> None:
    """Record the Prefect server of this process for other commands."""
    _write(paths, url)


def clear_server(paths: Paths) -> None:
    """Record that the server of this process has stopped."""
    _write(paths, None)


def is_expected(paths: Paths) -> bool:
    """Return whether a Prefect server is to run the schedules: one is configured, or one has run them before."""
    return API_VARIABLE in os.environ or _read(paths) is not None


def former_checkout(paths: Paths) -> str | None:
    """Return the checkout whose schedules ran last from this `var/`, if that is another one than this."""
    record = _read(paths)
    return record.checkout if record and record.checkout != str(paths.checkout) else None


def _recorded_server(paths: Paths) -> str | None:
    """Return the address of the Prefect API that a running `schedule` or `up` of this checkout uses."""
    record = _read(paths)
    if record is None or record.url is None or record.checkout != str(paths.checkout):
        return None
    return record.url if not record.process.has_died() and answers(record.url) else None


def _write(paths: Paths, url: str | None) -> None:
    files.write_json(_record_file(paths), asdict(_ServerRecord(str(paths.checkout), url, ProcessIdentity.own())))


def _read(paths: Paths) -> _ServerRecord | None:
    try:
        tree = files.read_json(_record_file(paths))
        return _ServerRecord(tree["checkout"], tree["url"], ProcessIdentity.from_json(tree["process"]))
    except (DataError, KeyError, TypeError, ValueError):
        return None


def _record_file(paths: Paths) -> Path:
    return paths.var / "prefect/server.json"
