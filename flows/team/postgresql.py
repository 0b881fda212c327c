"""PostgreSQL of a team's set-up: one server, and a database for each service that keeps something."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from flows.processes.supervisor import Service
from flows.team import programs
from flows.team.folder import write_private
from mnistflow import files
from mnistflow.errors import MnistflowError

USER = "mnistflow"
ACCOUNT = "postgres"  # of the operating system, where this process is root's, as whom PostgreSQL refuses to run
CONNECT_SECONDS = 5


@dataclass(frozen=True)
class PostgreSql:
    """A PostgreSQL server of this machine.

    Attributes:
        folder: holds its data.
        databases: names of the databases, which are made when they do not exist.
    """

    folder: Path
    port: int
    password: str
    databases: tuple[str, ...]

    def url(self, database: str, driver: str = "") -> str:
        """Return the URL of a database, with the password: not to be printed.

        Args:
            driver: that SQLAlchemy shall use.
        """
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return f"{scheme}://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def service(self) -> Service:
        """Return the server as a service.

        Raises:
            MnistflowError: it is not installed, or its data cannot be made.
        """
        server = programs.POSTGRES.require()
        self._initialize(server.with_name("initdb"))
        # One folder for both, because the directory of Debian belongs to its own service.
        settings = ("-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self._data}")
        return Service(
            name="PostgreSQL",
            command=(*_as_account(), str(server), "-D", str(self._data), "-p", str(self.port), *settings),
            is_ready=self.ensure_databases,
            address=f"127.0.0.1:{self.port}",
        )

    def ensure_databases(self) -> bool:
        """Create missing databases; return False while the server does not answer."""
        import psycopg
        from psycopg.conninfo import make_conninfo

        server = make_conninfo(host="127.0.0.1", port=self.port, user=USER, password=self.password, dbname="postgres")
        try:
            with psycopg.connect(server, connect_timeout=CONNECT_SECONDS, autocommit=True) as connection:
                existing = {name for (name,) in connection.execute("select datname from pg_database")}
                for name in self.databases:
                    if name not in existing:
                        connection.execute(f'create database "{name}"'.encode())
        except psycopg.OperationalError:
            return False
        return True

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _initialize(self, initdb: Path) -> None:
        if self._data.is_dir():
            return
        making = self.folder / "making"  # renamed when it is complete
        files.remove(making)
        self.folder.mkdir(parents=True, exist_ok=True)
        password = self.folder / "password"
        write_private(password, self.password)
        if _as_account():
            account = pwd.getpwnam(ACCOUNT)
            for path in (self.folder, password):
                os.chown(path, account.pw_uid, account.pw_gid)
        options = ("--auth=scram-sha-256", f"--username={USER}", f"--pwfile={password}", "--encoding=UTF8")
        made = subprocess.run(
            [*_as_account(), str(initdb), "-D", str(making), *options, "--no-locale"],
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        password.unlink()
        if made.returncode:
            raise MnistflowError(
                f"PostgreSQL cannot initialize its data folder {self._data}: {made.stderr.strip().splitlines()[-1]}",
                f"As root, its user {ACCOUNT} must be able to enter the folders above.",
            )
        making.rename(self._data)


def _as_account() -> tuple[str, ...]:
    """Return what a command begins with that must not run as root."""
    if os.geteuid() != 0:
        return ()
    return ("/usr/bin/setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--init-groups")
