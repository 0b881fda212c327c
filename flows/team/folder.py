"""Folder of a team's set-up, `var/team`: its secrets, and the environment of its clients."""

from __future__ import annotations

import json
import os
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mnistflow import files
from mnistflow.paths import Paths

ONLY_OWNER = 0o600
SECRET_BYTES = 24
RESTORE = "Restore it from a backup: the services know these passwords."


def _new_secret() -> str:
    return secrets.token_hex(SECRET_BYTES)


@dataclass(frozen=True)
class Secrets:
    """Passwords of the services, made at the first start. Services and clients get them by their environment only.

    Attributes:
        mlflow_session: signs MLflow's cookies.
    """

    postgresql: str = field(default_factory=_new_secret, repr=False)
    object_store: str = field(default_factory=_new_secret, repr=False)
    mlflow: str = field(default_factory=_new_secret, repr=False)
    mlflow_session: str = field(default_factory=_new_secret, repr=False)
    prefect: str = field(default_factory=_new_secret, repr=False)
    grafana: str = field(default_factory=_new_secret, repr=False)


@dataclass(frozen=True)
class TeamFolder:
    """Folder that holds all that the services of the set-up write."""

    root: Path

    @classmethod
    def of(cls, paths: Paths) -> TeamFolder:
        """Return the folder of a checkout, which it makes if it does not exist."""
        folder = cls(paths.var / "team")
        folder.root.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def logs(self) -> Path:
        """Output of the services, one file each."""
        return self.root / "logs"

    @property
    def environment(self) -> Path:
        """Shell script that lets commands use this set-up: `. var/team/environment`."""
        return self.root / "environment"

    def secrets(self) -> Secrets:
        """Return the passwords, which are made at the first call."""
        path = self.root / "secrets.json"
        if not path.is_file():
            write_private(path, json.dumps(asdict(Secrets()), indent=2) + "\n")
        return Secrets(**files.read_json(path, RESTORE))

    def write_environment(self, variables: Mapping[str, str]) -> None:
        """Write the environment of clients."""
        lines = (f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
        write_private(self.environment, "".join(lines))


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic_write(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, ONLY_OWNER)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
