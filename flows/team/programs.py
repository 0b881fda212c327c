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
EXTRAS = "Install the extras: pip install 'mnistflow[pipeline,cluster,team]'."


@dataclass(frozen=True)
class Part:
    """Something that has to be installed.

    Attributes:
        package: Python package; empty for a program.
        fix: how to install it.
    """

    name: str
    fix: str
    package: str = ""

    def find(self) -> Path | None:
        """Return the path of a program, or the name of a package, if it is installed."""
        if self.package:
            return Path(self.package) if find_spec(self.package) else None
        return _program(self.name)

    def require(self) -> Path:
        """Return the path of a program.

        Raises:
            MnistflowError: it is not installed.
        """
        if found := self.find():
            return found
        raise MnistflowError(f"{self.name} is not installed", self.fix)


POSTGRES = Part("postgres", "Install it with `apt-get install postgresql`.")
NGINX = Part("nginx", "Install it with `apt-get install --no-install-recommends nginx-light openssl`.")
PROMETHEUS = Part("prometheus", "Install it with `apt-get install --no-install-recommends prometheus`.")
GRAFANA = Part("grafana-server", "Install Grafana's own package; Debian has none.")
PACKAGES = (
    Part("Dask", EXTRAS, "distributed"),
    Part("psycopg", EXTRAS, "psycopg"),
    Part("boto3", EXTRAS, "boto3"),
    Part("nanio, an S3 server", EXTRAS, "nanio"),
    Part("MLflow's authentication", EXTRAS, "flask_wtf"),
)


def require_all(parts: Sequence[Part]) -> None:
    """Check that all parts are installed.

    Raises:
        MnistflowError: some are not; the message names all of them.
    """
    missing = [part for part in parts if not part.find()]
    if missing:
        names = ", ".join(part.name for part in missing)
        fixes = " ".join(dict.fromkeys(part.fix for part in missing))
        raise MnistflowError(f"not installed: {names}", fixes)


def _program(name: str) -> Path | None:
    search = os.pathsep.join((os.environ.get("PATH", os.defpath), *FOLDERS))
    if name == POSTGRES.name:  # beside its tools, of which Debian keeps one folder a version
        search = os.pathsep.join(map(str, (*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), search)))
    found = shutil.which(name, path=search)
    return Path(found).resolve() if found else None
