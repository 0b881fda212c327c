"""Inference log: images, predictions and feedback can be read from it; predictions never depend on it."""

import base64
import contextlib
import io
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import psycopg
import pytest
import serving_kit as kit
import waiting
from cluster import BINARIES, postgresql
from PIL import Image
from waiting import WAIT_SECONDS

from mnistflow.data import catalog, inference_log
from mnistflow.data.feedback import reports, reviews

INFER = f"/v2/models/{kit.NAME}/infer"
FEEDBACK_OF_0_1 = """
CREATE TABLE feedback (id TEXT NOT NULL, number INTEGER NOT NULL, time DOUBLE PRECISION NOT NULL,
    label INTEGER NOT NULL, class_name TEXT NOT NULL, PRIMARY KEY (id, number));
INSERT INTO feedback (id, number, time, label, class_name) VALUES ('old', 0, 1, 3, '3')
"""


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    return tmp_path / "log/inferences.db"


def rows(path: Path, query: str) -> list[tuple]:
    if not path.is_file():
        return []
    with closing(sqlite3.connect(path, timeout=WAIT_SECONDS)) as connection:
        return connection.execute(query).fetchall()


def wait_for(path: Path, count: int) -> None:
    kit.wait_until(lambda: path.is_file() and rows(path, "SELECT count(*) FROM sqlite_master")[0][0] >= 2)
    kit.wait_until(lambda: rows(path, "SELECT count(*) FROM inferences")[0][0] == count)


def predict(server: kit.Server, image: np.ndarray, **headers: str) -> httpx.Response:
    return server.client.post("/predict", content=image.tobytes(), headers=headers).raise_for_status()


def say(server: kit.Server, **feedback: object) -> httpx.Response:
    return server.client.post("/feedback", json=feedback)


def empty_sheet() -> bytes:
    content = io.BytesIO()
    Image.new("L", (50, 50), 255).save(content, "PNG")
    return content.getvalue()


def test_pictures_answers_and_ids_are_in_the_log(repository, data, logged) -> None:
    images = data[0][:3]
    with kit.Server(repository, "--inference-log", str(logged)) as server:
        answer = predict(server, images[0])
        assert answer.headers["x-request-id"] == answer.json()["id"]
        assert predict(server, images[1], **{"X-Request-Id": "mine-1"}).json()["id"] == "mine-1"
        assert predict(server, images[1], **{"X-Request-Id": "bad id!"}).json()["id"] != "bad id!"
        server.client.post(INFER, json=kit.inference_request(images[1:3]) | {"id": "both"}).raise_for_status()
        wait_for(logged, 5)
        # Readers and the writer do not wait for one another.
        assert rows(logged, "PRAGMA journal_mode") == [("wal",)]
    found = {(id_, number): row for id_, number, *row in rows(logged, "SELECT * FROM inferences")}
    _, model, version, image, shape, classes, probabilities = found[answer.json()["id"], 0]
    assert (model, version, shape) == (kit.NAME, 1, "[28,28]")
    assert image == images[0].tobytes()
    assert np.allclose(np.fromstring(probabilities[1:-1], sep=","), answer.json()["probabilities"], atol=1e-6)
    assert classes.startswith('["0","1"')
    assert found["both", 1][3] == images[2].tobytes()


def test_feedback_is_kept_once_and_can_be_corrected(repository, data, logged) -> None:
    with kit.Server(repository, "--inference-log", str(logged)) as server:
        given = predict(server, data[0][0]).json()["id"]
        for name in ("3", "3", "7"):
            assert say(server, id=given, class_name=name).json() == {"id": given, "number": 0, "class_name": name}
        assert [row[0] for row in rows(logged, "SELECT class_name FROM feedback")] == ["7"]
        unknown = say(server, id="nobody", class_name="3")
        assert (unknown.status_code, unknown.json()) == (
            404,
            {"error": "the inference log has no prediction with this id: only a sample of the requests is logged"},
        )
        assert say(server, id=given, class_name="x").status_code == 400
        assert say(server, id=given, class_name="3", number=1).status_code == 404
        for wrong in ({"id": given}, {"id": 1, "class_name": "3"}, {"id": given, "class_name": "3", "number": True}):
            assert say(server, **wrong).status_code == 400
        assert server.client.post("/feedback", content=b"no json").status_code == 400
        listed = {"images": [base64.b64encode(image).decode() for image in (empty_sheet(), data[0][0].tobytes())]}
        both = server.client.post("/predict", json=listed).raise_for_status().json()["id"]
        assert say(server, id=both, class_name="3", number=1).is_success
        assert say(server, id=both, class_name="3", number=0).status_code == 404  # there is nothing to learn from


def test_feedback_that_no_log_can_hold_is_refused_and_the_log_goes_on(repository, data, logged) -> None:
    with kit.Server(repository, "--inference-log", str(logged)) as server:
        for wrong in ({"number": 2**63 - 1}, {"number": 2**31}, {"number": -1}, {"id": "a\0b"}, {"id": "x" * 1000}):
            assert say(server, **({"id": "nobody", "class_name": "3"} | wrong)).status_code == 400, wrong
        given = predict(server, data[0][0]).json()["id"]
        assert say(server, id=given, class_name="3").is_success
        assert "mnistflow_log_dropped_total 0.0" in server.metrics()


def test_an_id_that_is_used_again_names_the_newest_images(repository, data, logged) -> None:
    images = data[0][:4]
    with kit.Server(repository, "--inference-log", str(logged)) as server:
        server.client.post(INFER, json=kit.inference_request(images[:2]) | {"id": "1"}).raise_for_status()
        wait_for(logged, 2)
        assert say(server, id="1", number=1, class_name="1").is_success
        for image, class_name in ((images[2], "2"), (images[3], "3")):
            server.client.post(INFER, json=kit.inference_request(image[None]) | {"id": "1"}).raise_for_status()
            assert say(server, id="1", class_name=class_name).is_success
        assert say(server, id="1", number=1, class_name="3").status_code == 404
        wait_for(logged, 4)
    labels = "SELECT image, class_name FROM inferences JOIN feedback USING (id, number)"
    expected = {images[number].tobytes(): str(number) for number in (1, 2, 3)}
    assert dict(rows(logged, labels)) == expected


def test_without_a_log_there_is_no_feedback(repository, data) -> None:
    with kit.Server(repository) as server:
        assert say(server, id=predict(server, data[0][0]).json()["id"], class_name="3").status_code == 503


def test_a_log_that_cannot_be_written_costs_no_prediction(repository, data, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with kit.Server(repository, "--inference-log", str(tmp_path / "file/inferences.db")) as server:
        given = [predict(server, image).json()["id"] for image in data[0][:5]]
        kit.wait_until(lambda: "mnistflow_log_dropped_total 5.0" in server.metrics())
        assert say(server, id=given[0], class_name="3").status_code == 503
        assert any("inference log cannot be written" in line for line in server.log)


def test_old_pictures_go_and_those_with_feedback_stay(repository, data, logged) -> None:
    arguments = ("--logged-rows", "100", "--logged-per-second", "1000000")
    with kit.Server(repository, "--inference-log", str(logged), *arguments) as server:
        kept = predict(server, data[0][0]).json()["id"]
        assert say(server, id=kept, class_name="3").is_success
        for _ in range(11):
            server.client.post(INFER, json=kit.inference_request(data[0][:100])).raise_for_status()
        kit.wait_until(lambda: rows(logged, "SELECT count(*) FROM inferences")[0][0] < 1000)
        kit.wait_until(lambda: server.client.post(INFER, json=kit.inference_request(data[0][:500])).is_success)
        kit.wait_until(lambda: rows(logged, "SELECT max(rowid) - min(rowid) FROM inferences")[0][0] > 1000)
        # Old ones go after new ones came, so that there may be more for a moment.
        kit.wait_until(lambda: rows(logged, "SELECT count(*) FROM inferences")[0][0] <= 601)
        assert (kept,) in rows(logged, "SELECT id FROM inferences")


def test_no_more_than_the_sample_is_logged(repository, data, logged) -> None:
    with kit.Server(repository, "--inference-log", str(logged), "--logged-per-second", "0.001") as server:
        first = predict(server, data[0][0]).json()["id"]
        for image in data[0][1:10]:
            predict(server, image)
        assert say(server, id=first, class_name="3").is_success
    assert rows(logged, "SELECT id FROM inferences") == [(first,)]


@pytest.mark.slow
@pytest.mark.skipif(not BINARIES, reason="PostgreSQL is not installed: apt-get install postgresql")
def test_a_log_in_postgresql_is_shared_and_read_by_the_next_training(repository, data) -> None:
    images = data[0][:40]
    arguments = ("--workers", "2", "--logged-rows", "100", "--logged-per-second", "1000000")
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(postgresql())
        with psycopg.connect(url) as connection:
            connection.execute(FEEDBACK_OF_0_1)
        server = stack.enter_context(kit.Server(repository, "--inference-log", url, *arguments))

        def count(table: str) -> int:
            with psycopg.connect(url) as connection:
                return connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]

        given = [waiting.post(f"{server.url}/predict", content=image.tobytes()).json()["id"] for image in images]
        kit.wait_until(lambda: say(server, id=given[-1], class_name="5").is_success)
        kit.wait_until(lambda: count("inferences") == 40)
        for name in ("3", "3", "7"):
            assert say(server, id=given[0], class_name=name).is_success
        assert say(server, id="nobody", class_name="3").status_code == 404
        assert say(server, id=given[0], class_name="x").status_code == 400
        assert say(server, id=given[0], class_name="3", number=2**31).status_code == 400
        assert count("feedback") == 3

        reported = reports.read(url, reports.newest(url), catalog.get("digits"))
        found = {report.image.tobytes(): report.class_name for report in reported}
        assert found == {images[0].tobytes(): "7", images[-1].tobytes(): "5"}
        source = inference_log.Source(kit.NAME, 1, (28, 28))
        labels = inference_log.labels(url, source, 0)
        assert [class_name for *_, class_name, _ in labels] == ["5", "7"]  # in the order of the first reports
        assert say(server, id=given[-1], class_name="5").is_success
        assert say(server, id=given[0], class_name="7").is_success
        assert inference_log.labels(url, source, 0) == labels
        assert reports.newest(url) == max(report.time for report in reported)
        reviews.record(url, reported[:1], "accept", "ada@laptop", correct="9")
        (decided,) = (
            report for report in reports.read(url, reports.newest(url), catalog.get("digits")) if report.decision
        )
        assert (decided.key, decided.decision, decided.class_name) == (reported[0].key, "accept", "9")

        for _ in range(20):
            server.client.post(INFER, json=kit.inference_request(data[0][:100])).raise_for_status()
        kit.wait_until(lambda: count("inferences") < 1000)
        assert say(server, id=given[0], class_name="7").is_success
        again = {"X-Request-Id": given[0]}
        server.client.post("/predict", content=data[0][50].tobytes(), headers=again).raise_for_status()
        kit.wait_until(lambda: count(f"inferences WHERE id LIKE '{given[0]}#%'") == 1)
        assert count("feedback") == 3
