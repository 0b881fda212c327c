"""Programs and packages that a team's set-up consists of, and how to install those that are missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mnistflow.errors import MnistflowError

# Debian keeps servers out of the PATH of users.
FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/share/grafana/bin")
EXTRAS = "Install the extras: pip install '.[pipeline,cluster,team]'."


@dataclass(frozen=True)
class Program:
    """A program that has to be installed.

    Attributes:
        fix: how to install it.
    """

    name: str
    fix: str

    def find(self) -> Path | None:
        """Return its path, if it is installed."""
        return _find_program(self.name)

    def is_installed(self) -> bool:
        """Return whether it is installed."""
        return self.find() is not None

    def require(self) -> Path:
        """Return its path.

        Raises:
            MnistflowError: it is not installed.
        """
        if found := self.find():
            return found
        raise MnistflowError(f"{self.name} is not installed", self.fix)


@dataclass(frozen=True)
class Package:
    """A Python package that has to be installed.

    Attributes:
        fix: how to install it.
        module: that it is imported as.
    """

    name: str
    fix: str
    module: str

    def is_installed(self) -> bool:
        """Return whether it is installed."""
        return find_spec(self.module) is not None


POSTGRES = Program("postgres", "Install it with `apt-get install postgresql`.")
NGINX = Program("nginx", "Install it with `apt-get install --no-install-recommends nginx-light openssl`.")
PROMETHEUS = Program("prometheus", "Install it with `apt-get install --no-install-recommends prometheus`.")
GRAFANA = Program("grafana-server", "Install Grafana's own package; Debian has none.")
PACKAGES = (
    Package("Dask", EXTRAS, "distributed"),
    Package("psycopg", EXTRAS, "psycopg"),
    Package("boto3", EXTRAS, "boto3"),
    Package("nanio, an S3 server", EXTRAS, "nanio"),
    Package("MLflow's authentication", EXTRAS, "flask_wtf"),
)


def require_all(parts: Sequence[Program | Package]) -> None:
    """Check that all programs and packages are installed.

    Raises:
        MnistflowError: some are not; the message names all of them.
    """
    missing = [part for part in parts if not part.is_installed()]
    if missing:
        names = ", ".join(part.name for part in missing)
        fixes = " ".join(dict.fromkeys(part.fix for part in missing))
        raise MnistflowError(f"not installed: {names}", fixes)


def _find_program(name: str) -> Path | None:
    search = os.pathsep.join((os.environ.get("PATH", os.defpath), *FOLDERS))
    if name == POSTGRES.name:  # beside its tools, of which Debian keeps one folder a version
        search = os.pathsep.join(map(str, (*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), search)))
    found = shutil.which(name, path=search)
    return Path(found).resolve() if found else None
