"""Transient errors: the property survives wrapping and pickling, and permanent errors stay permanent."""

import importlib
import pickle
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest
import requests
import sqlalchemy
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, TEMPORARILY_UNAVAILABLE

from mnistflow import errors, transient
from mnistflow.errors import ConfigError, MirrorsExhausted, MnistflowError, StageError
from mnistflow.transient import is_transient
from mnistflow.workers import worker_process
from mnistflow.workers.base import WorkerDied


def wrapped(cause: Exception) -> MnistflowError:
    """Return the error that a stage makes of an error of its code."""
    with pytest.raises(StageError) as caught:
        try:
            with errors.in_one_line():
                raise cause
        except MnistflowError as error:
            raise StageError(f"stage train failed: {error.problem}") from error
    return caught.value


def mlflow_without_connection() -> Exception:
    """MLflow wraps what its HTTP client raises, without `from`."""
    with pytest.raises(MlflowException) as caught:
        try:
            raise requests.exceptions.ConnectionError("connection refused")
        except Exception as error:
            raise MlflowException(f"API request failed with exception {error}")  # noqa: B904
    return caught.value


TRANSIENT = [
    MirrorsExhausted("no mirror gave it", transient=True),
    WorkerDied("a worker process ended with -9"),
    ConnectionRefusedError(111, "Connection refused"),
    TimeoutError("timed out"),
    requests.exceptions.ReadTimeout("timed out"),
    httpx.ConnectError("connection refused"),
    sqlalchemy.exc.OperationalError("select 1", {}, Exception("database is locked")),
    MlflowException("locked", error_code=TEMPORARILY_UNAVAILABLE),
    RestException({"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "slow down"}),
    MlflowException("API request to endpoint /x failed with error code 503 != 200"),
    mlflow_without_connection(),
]
PERMANENT = [
    MirrorsExhausted("no mirror gave it", transient=False),
    ConfigError("unknown family"),
    FileNotFoundError(2, "No such file"),
    ValueError("patch does not divide 28"),
    sqlalchemy.exc.IntegrityError("insert", {}, Exception("not unique")),
    MlflowException("no such run", error_code=RESOURCE_DOES_NOT_EXIST),
    httpx.UnsupportedProtocol("no protocol"),
]


@pytest.mark.parametrize("error", TRANSIENT, ids=repr)
def test_a_transient_error_stays_transient_when_it_is_wrapped_and_pickled(error: Exception) -> None:
    assert is_transient(error)
    again = pickle.loads(pickle.dumps(wrapped(error)))
    assert again.transient
    assert again.problem.startswith("stage train failed: ")
    assert pickle.loads(pickle.dumps(again)).transient


@pytest.mark.parametrize("error", PERMANENT, ids=repr)
def test_a_permanent_error_stays_permanent(error: Exception) -> None:
    assert not is_transient(error)
    assert not pickle.loads(pickle.dumps(wrapped(error))).transient


def test_an_error_raised_while_a_transient_one_is_handled_is_not_transient_itself() -> None:
    with pytest.raises(ConfigError) as caught:
        try:
            raise TRANSIENT[0]
        except MirrorsExhausted:
            raise ConfigError("unknown fallback")  # noqa: B904
    assert not caught.value.transient


def test_a_stated_answer_overrules_the_cause() -> None:
    with pytest.raises(StageError) as caught:
        raise StageError("worker processes died three times", transient=False) from WorkerDied()
    assert not caught.value.transient
    assert not is_transient(caught.value)


@pytest.mark.long
@pytest.mark.slow
def test_a_locked_store_of_mlflow_is_transient(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    client = MlflowClient(f"sqlite:///{path}")
    client.search_experiments()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin exclusive")
        with pytest.raises(MlflowException) as caught:
            client.create_experiment("digits")
    assert is_transient(caught.value)
    assert pickle.loads(pickle.dumps(wrapped(caught.value))).transient


@pytest.mark.parametrize("name", sorted({*transient.CLASSES, transient.MLFLOW}))
def test_the_named_classes_exist(name: str) -> None:
    module, _, cls = name.rpartition(".")
    found = getattr(importlib.import_module(module), cls)
    assert f"{found.__module__}.{found.__qualname__}" == name


class Unpicklable(Exception):
    """An error that pickle writes and cannot rebuild, as many libraries have them."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")


def fail(error: Exception) -> None:
    raise error


def fail_unpicklably(_job: None) -> None:
    raise Unpicklable(503, "busy") from ConnectionError("refused")


def test_an_error_crosses_the_border_of_a_worker_with_or_without_its_class() -> None:
    succeeded, content, is_transient_there = worker_process.run(pickle.dumps((fail, httpx.ConnectError("refused"))))
    assert (succeeded, is_transient_there) == (False, True)
    assert isinstance(pickle.loads(content), httpx.ConnectError)
    succeeded, content, is_transient_there = worker_process.run(pickle.dumps((fail_unpicklably, None)))
    assert (succeeded, is_transient_there) == (False, True)
    assert "503 busy" in str(pickle.loads(content))
