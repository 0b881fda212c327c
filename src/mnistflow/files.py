"""File utilities: atomic writes, hashes, JSON and lock files."""

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from mnistflow.errors import DataError

Model = TypeVar("Model", bound=BaseModel)

WRITTEN_BY_STAGE = "Run its stage again: `mnistflow retrain` without overrides, or `dvc repro`, writes the file."
DELETE = "Delete that file."  # one that is written again when it is needed


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path for a file or folder, and rename it to `path` when the block succeeds.

    On an error, the temporary file or folder is removed, and `path` is unchanged.

    Raises:
        DataError: the file or folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    retired = temporary.with_suffix(".old")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        try:
            if path.is_dir():
                # A folder cannot replace a folder that is not empty.
                path.replace(retired)
            temporary.replace(path)
        except BaseException:  # an interrupt, too
            if retired.exists() and not path.exists():
                retired.replace(path)
            raise
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {error.strerror or error}",
            "Free disk space, or grant this user write permission.",
        ) from error
    finally:
        remove(temporary)
        remove(retired)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new, empty folder, and rename it to `path` when the block succeeds.

    Raises:
        DataError: the folder cannot be written.
    """
    with atomic_write(path) as temporary:
        temporary.mkdir()
        yield temporary


def remove(path: Path) -> None:
    """Remove a file, or a folder with its contents, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Try to lock a file; yield False if another process holds the lock. The lock is released when the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path, fix: str = WRITTEN_BY_STAGE) -> Any:
    """Return the value in a JSON file.

    Args:
        path: of the file.
        fix: for the error, what makes the file readable; by default for an output of a stage.

    Raises:
        DataError: the file is missing or contains no valid JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing", fix) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid JSON: {error}", fix) from error


def write_model(path: Path, model: BaseModel) -> None:
    """Write a Pydantic model as indented JSON, atomically.

    Raises:
        DataError: the file cannot be written.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(model.model_dump_json(indent=2, by_alias=True) + "\n", encoding="utf-8")


def read_model(path: Path, kind: type[Model], fix: str) -> Model | None:
    """Return the content of a JSON file as a Pydantic model; None without the file.

    Args:
        path: of the file.
        kind: class of the model.
        fix: for the error, what makes the file readable.

    Raises:
        DataError: the file cannot be read, or is not such a model.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise DataError(f"{path} is damaged: {first}", fix) from error
