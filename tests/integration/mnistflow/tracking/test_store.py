"""The ways to read MLflow's store give the same records: its SQLite file, the REST API of a server, MLflow's client."""

import json
import math
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from cluster import free_port
from mirror import Mirror
from mlflow import MlflowClient
from mlflow.store.db.utils import _get_latest_schema_revision
from waiting import wait_until

from mnistflow.errors import MnistflowError, RegistryError
from mnistflow.paths import Paths
from mnistflow.registry import versions
from mnistflow.tracking import runs
from mnistflow.tracking.client_store import ClientStore
from mnistflow.tracking.records import Order, RunQuery, Store, StoredModel
from mnistflow.tracking.rest_store import RestStore
from mnistflow.tracking.sqlite_store import REVISION, SqliteStore
from mnistflow.tracking.store import open_store
from mnistflow.transient import is_transient

pytestmark = pytest.mark.slow

# The metrics of the runs, in the order in which `BEST` has to return them, without the last; None is not logged.
SCORES = (0.9, 0.9, 0.5, 0.0, math.nan)
LOSSES = (0.1, None, 0.3, math.nan, 0.2)

# Copies of the only version of a model, up to a number: many times as fast as to create them.
MANY = 2100
NUMBERS = "with recursive numbers(number) as (select 2 union all select number + 1 from numbers where number < :count)"
MORE_VERSIONS = f"""
insert into model_versions
    (workspace, name, version, creation_time, last_updated_time, current_stage, source, run_id, status)
{NUMBERS}
select workspace, name, number, creation_time, last_updated_time, current_stage, source, run_id, status
from model_versions, numbers where name = 'many'
"""
TAGS_OF_MORE_VERSIONS = f"""
insert into model_version_tags (workspace, name, version, key, value) {NUMBERS}
select workspace, name, number, key, number from model_version_tags, numbers where name = 'many'
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with runs, a run that was deleted, and a model with 12 versions."""
    path = tmp_path_factory.mktemp("store of mlflow") / "mlflow.db"
    client = MlflowClient(f"sqlite:///{path}")
    experiment = client.create_experiment("digits")
    for number, (score, loss) in enumerate(zip(SCORES, LOSSES, strict=True)):
        run = client.create_run(experiment, 1000 + number, {"mnistflow.kind": "retrain"}, f"run {number}").info.run_id
        client.log_metric(run, "test_accuracy", score / 2, step=1)
        client.log_metric(run, "test_accuracy", score, step=2)
        if loss is not None:
            client.log_metric(run, "test_loss", loss)
        client.log_param(run, "model.family", "it's a \"family\" 'ä'")
        client.log_param(run, "train.seed", number % 2)
        client.set_tag(run, "note", "it's" if number else "other")
        if number != 2:
            client.set_terminated(run, "FINISHED")
    client.log_metric(client.create_run(experiment, 50, run_name="a stage").info.run_id, "test_accuracy", 0.9)
    client.log_metric(client.create_run(experiment, 60, {"mnistflow.kind": "retrain"}).info.run_id, "test_mse", 0.9)
    deleted = client.create_run(experiment, 70, {"mnistflow.kind": "retrain"}, "deleted").info.run_id
    client.log_metric(deleted, "test_accuracy", 1.0)
    client.delete_run(deleted)
    gone = client.create_experiment("gone")
    client.create_run(gone, 80, run_name="of a deleted experiment")
    client.delete_experiment(gone)
    client.create_registered_model("foreign")
    client.create_model_version("foreign", "file:///m")
    client.create_registered_model("digits-classifier")
    for number in range(1, 13):
        client.create_model_version("digits-classifier", "file:///m", run, {"number": str(number), "text": "ä\nb"})
    client.delete_model_version("digits-classifier", "7")
    client.set_registered_model_alias("digits-classifier", "champion", "3")
    client.set_registered_model_alias("digits-classifier", "previous", "12")
    client.set_registered_model_tag("digits-classifier", "note", "ä\nb")
    client.create_registered_model("empty")
    client.create_registered_model("many")
    client.create_model_version("many", "file:///m", run, {"number": "1"})
    with sqlite3.connect(path) as connection:
        for statement in (MORE_VERSIONS, TAGS_OF_MORE_VERSIONS):
            connection.execute(statement, {"count": MANY})
    connection.close()
    return path


@pytest.fixture(scope="module")
def server(database: Path) -> Iterator[str]:
    """A real tracking server on the same store."""
    port = free_port()
    command = ["-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{database}", "--port", str(port)]
    with (database.parent / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command, "--workers", "1", "--artifacts-destination", str(database.parent / "artifacts")],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(f"{url}/health") or process.poll() is not None)
        assert process.poll() is None, (database.parent / "log").read_text()
        yield url
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture(params=["sqlite", "rest", "client"])
def store(request: pytest.FixtureRequest, database: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "rest":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", request.getfixturevalue("server"))
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    return ClientStore() if request.param == "client" else open_store()


BEST = RunQuery(
    "digits",
    tags={"mnistflow.kind": "retrain"},
    measured="test_accuracy",
    order=(Order("test_accuracy", descending=True), Order("test_loss")),
)


def test_the_chosen_way_is_the_cheapest(
    database: Path, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def way(uri: str) -> type[Store]:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        return type(open_store())

    assert way(f"sqlite:///{database}") is SqliteStore
    assert way(f"sqlite:///{tmp_path}/none.db") is SqliteStore
    assert way(server) is RestStore
    assert way(f"sqlite:///{database}?timeout=5") is ClientStore
    assert way("postgresql://user@127.0.0.1/mlflow") is ClientStore
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", server)
    assert way(f"sqlite:///{database}") is ClientStore


def test_a_store_of_another_revision_is_left_to_the_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("create table alembic_version (version_num varchar(32))")
        connection.execute("insert into alembic_version values ('0123456789ab')")
    connection.close()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    assert type(open_store()) is ClientStore
    (tmp_path / "other.db").write_bytes(b"no database")
    assert type(open_store()) is ClientStore


def test_the_known_revision_is_that_of_the_installed_mlflow() -> None:
    assert _get_latest_schema_revision() == REVISION


def test_runs_are_found_in_the_order_of_their_metrics(store: Store) -> None:
    found = store.search_runs(BEST)
    assert [run.name for run in found] == ["run 0", "run 1", "run 2", "run 3"]
    assert [run.started_ms for run in found] == [1000, 1001, 1002, 1003]
    assert [run.metrics["test_accuracy"] for run in found] == list(SCORES[:4])
    assert math.isnan(found[3].metrics["test_loss"])
    assert "test_loss" not in found[1].metrics
    assert found[0].parameters == {"model.family": "it's a \"family\" 'ä'", "train.seed": "0"}
    assert found[0].tags["mnistflow.kind"] == "retrain"
    assert [run.status for run in found[1:3]] == ["FINISHED", "RUNNING"]


def test_all_ways_give_the_same_records(store: Store, database: Path) -> None:
    direct = SqliteStore(database)
    queries = (
        BEST,
        RunQuery("digits", limit=1),
        RunQuery("digits", parameters={"train.seed": "1"}, since_ms=1001),
        RunQuery("digits", tags={"note": "it's"}),
        RunQuery("digits", since_ms=1003),
        RunQuery("digits", status="RUNNING"),
        RunQuery("digits", measured="test_mse"),
        RunQuery("digits", order=(Order("test_loss", descending=True),)),
        RunQuery("digits", order=(Order("test_loss"),), limit=3),
        RunQuery("none"),
    )
    assert [run.name for run in direct.search_runs(queries[2])] == ["run 3", "run 1"]
    for query in queries:
        assert repr(store.search_runs(query)) == repr(direct.search_runs(query)), query  # NaN differs from itself
    for run in direct.search_runs(RunQuery("digits")):
        assert repr(store.run(run.run_id)) == repr(run)
    for model in ("digits-classifier", "foreign", "empty", "none"):
        assert store.aliases(model) == direct.aliases(model)
        assert store.versions(model) == direct.versions(model)
    assert store.version("digits-classifier", 3) == direct.version("digits-classifier", 3)


def test_what_was_deleted_or_never_there_is_not_found(store: Store, database: Path) -> None:
    with sqlite3.connect(database) as connection:
        (deleted,) = connection.execute("select run_uuid from runs where name = 'deleted'").fetchone()
    connection.close()
    assert store.run(deleted) is None
    assert store.run("0" * 32) is None
    assert store.experiment_id("digits") == store.search_runs(BEST)[0].experiment_id
    assert store.experiment_id("none") is None
    assert [version.number for version in store.versions("digits-classifier")] == [12, 11, 10, 9, 8, 6, 5, 4, 3, 2, 1]
    assert store.version("digits-classifier", 7) is None
    assert store.version("none", 1) is None
    assert store.versions("none") == []
    assert store.aliases("digits-classifier") == {"champion": 3, "previous": 12}


@pytest.mark.parametrize("way", ["sqlite", "rest", "client"])
def test_what_is_in_the_trash_of_mlflow_is_named_with_the_command_that_restores_it(
    way: str, database: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    local = f"sqlite:///{database}"
    uri = {"sqlite": local, "rest": request.getfixturevalue("server"), "client": f"{local}?timeout=5"}[way]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with sqlite3.connect(database) as connection:
        known = dict(connection.execute("select name, run_uuid from runs"))
    connection.close()
    deleted, lost = known["deleted"], known["of a deleted experiment"]
    number = MlflowClient(local).get_experiment_by_name("gone").experiment_id
    command = "mlflow" if way == "rest" else f"MLFLOW_TRACKING_URI={uri} mlflow"
    assert runs.find(deleted) is runs.find(lost) is runs.find("0" * 32) is None
    with pytest.raises(RegistryError, match=f"^run {deleted} was deleted in MLflow") as raised:
        runs.read(deleted)
    assert raised.value.fix == f"`{command} runs restore --run-id {deleted}` brings it back."
    for asked in (lambda: runs.read(lost), lambda: runs.experiment_id(Paths(tmp_path, tmp_path), "gone")):
        with pytest.raises(RegistryError, match=r"^experiment gone was deleted in MLflow, with its runs") as raised:
            asked()
        assert raised.value.fix == f"`{command} experiments restore --experiment-id {number}` brings it back."
    with pytest.raises(RegistryError, match=r"^MLflow has no run 0000"):
        runs.read("0" * 32)
    (foreign,) = versions.foreign_versions("foreign")
    assert str(foreign).startswith("foreign version 1 was not registered by mnistflow. Delete that version")
    assert versions.all_versions("foreign") == [] and not versions.exists("foreign", 1)


def test_models_have_their_aliases_and_tags(store: Store) -> None:
    assert store.model("none") is None
    assert store.model("empty") == StoredModel({}, {})
    model = store.model("digits-classifier")
    assert model == StoredModel({"champion": 3, "previous": 12}, {"note": "ä\nb"})


def test_more_versions_than_a_page_holds_are_all_found(store: Store) -> None:
    found = store.versions("many")
    assert [version.number for version in found] == [*range(MANY, 0, -1)]
    assert all(version.tags == {"number": str(version.number)} for version in found)


def test_credentials_are_sent_as_mlflow_sends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked of a server that returns the header that it got, because MLflow's own needs a plug-in for users."""
    with EchoServer() as url:
        for name in ("USERNAME", "PASSWORD", "TOKEN"):
            monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
        assert RestStore(url).aliases("m") == {"None": 1}
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
        assert RestStore(url).aliases("m") == {"Bearer secret": 1}
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "user")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "password")
        assert RestStore(url).aliases("m") == {"Basic dXNlcjpwYXNzd29yZA==": 1}


class EchoServer:
    """Answers every request with a model whose only alias is the Authorization header of the request."""

    def __enter__(self) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                alias = {"alias": str(self.headers["Authorization"]), "version": "1"}
                body = json.dumps({"registered_model": {"aliases": [alias]}}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_a_server_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(MnistflowError, match=r"^the MLflow server at http://127.0.0.1:\d+ does not answer: "):
        open_store().aliases("digits-classifier")


@pytest.mark.parametrize(("status", "transient"), [(503, True), (401, False)])
def test_a_server_that_is_busy_may_be_asked_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int, transient: bool
) -> None:
    with Mirror(tmp_path, *[status] * 9) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        with pytest.raises(MnistflowError, match=f"does not answer: status {status}") as raised:
            open_store().aliases("digits-classifier")
    assert is_transient(raised.value) is transient
