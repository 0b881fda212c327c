"""Inference log of a server as the pipeline reads it: a SQLite file or a PostgreSQL database, never written to."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, LiteralString

from mnistflow.errors import DataError

CONNECT_SECONDS = 10


def query(location: str, statement: LiteralString, parameters: tuple[object, ...], fix: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query; none if the file does not exist.

    Args:
        location: path of an SQLite file, or URL of a PostgreSQL database.
        statement: with `?` for each parameter.
        parameters: of the query.
        fix: what the user can do if the location is wrong.

    Raises:
        DataError: the file or database cannot be read as an inference log.
    """
    if "://" in location:
        return _query_postgresql(location, statement.replace("?", "%s"), parameters, fix)
    path = Path(location)
    if not path.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(statement, parameters).fetchall()
    except sqlite3.Error as error:
        raise DataError(f"{path} is not the inference log of a server: {error}", fix) from error


def _query_postgresql(
    url: str, statement: LiteralString, parameters: tuple[object, ...], fix: str
) -> list[tuple[Any, ...]]:
    # Without user name and password.
    name = f"the database at {url.rpartition('@')[2]}"
    try:
        import psycopg

        with psycopg.connect(url, connect_timeout=CONNECT_SECONDS) as connection:
            return connection.execute(statement, parameters).fetchall()
    except ImportError as error:
        raise DataError(f"{name} needs psycopg", "Install it: `pip install 'mnistflow[postgres]'`.") from error
    except psycopg.Error as error:
        raise DataError(f"{name} is not the inference log of a server: {error}", fix) from error
