"""Looks at a real inference log, with a reference and a series in a real MLflow store."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import onnx
import pytest
import serving_kit as kit
from cluster import free_port
from configured import configured
from mlflow import MlflowClient

from mnistflow import config, files, splits
from mnistflow.data import catalog
from mnistflow.data.feedback import reports, reviews
from mnistflow.errors import DataError, MnistflowError
from mnistflow.monitoring import look, reference, state
from mnistflow.monitoring.look import Look
from mnistflow.paths import Paths
from mnistflow.registry import versions
from mnistflow.splits import Dataset, Split
from mnistflow.tracking import runs
from mnistflow.transient import is_transient
from serving.inference_log.store import Feedback, LogStore

pytestmark = pytest.mark.slow

NAME = "digits-classifier"
CLASSES = tuple("0123456789")
START = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = config.load(Path(__file__).parents[4] / "params.yaml").monitor


@dataclass
class Server:
    """A model, and what it writes into its log."""

    classifier: kit.Classifier
    images: np.ndarray
    labels: np.ndarray
    log: Path
    asked: int = 0

    def answer(self, images: np.ndarray, version: int = 1) -> list[str]:
        """Log answers as a server does, and return their ids."""
        ids = [f"{self.asked + number}" for number in range(len(images))]
        self.asked += len(images)
        rows = [
            (one, 0, time.time(), NAME, version, image.tobytes(), "[28,28]", json.dumps(CLASSES), json.dumps(answer))
            for one, image, answer in zip(ids, images, self.classifier.probabilities(images).tolist(), strict=True)
        ]
        store = LogStore(str(self.log))
        store.insert(rows)
        store.close()
        return ids

    def report(self, ids: list[str], names: list[str]) -> None:
        store = LogStore(str(self.log))
        for one, name in zip(ids, names, strict=True):
            store.record_feedback(Feedback(one, 0, name), "")
        store.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paths]:
    """A checkout with three versions: of the first two, the second has no reference; the third has learned feedback."""
    folder = tmp_path_factory.mktemp("monitor")
    paths = Paths(folder, folder)
    images, labels = kit.digits()
    part = Split(images[600:1400], labels[600:1400])
    data = Dataset("digits", "image_classification", CLASSES, (28, 28), part, part, part, {}, "")
    with configured(paths):
        paths.prepared.mkdir(parents=True)
        splits.save(data, paths.prepared)
        paths.exported.mkdir(parents=True)
        onnx.save(kit.linear_classifier(images[:600], labels[:600]).onnx(), paths.exported / "model.onnx")
        client = MlflowClient()
        client.create_registered_model(NAME)
        for number in (1, 2, 3):
            run = runs.start(paths, "digits", f"run {number}", kind="retrain")
            if number == 3:
                splits.save(with_feedback(data), paths.prepared)
            if number != 2:
                reference.log(paths, run)
            run.finish()
            tags = {"mnistflow.task": "image_classification", "mnistflow.sha256": str(number)}
            client.create_model_version(NAME, "mlflow-artifacts:/", run.run_id, tags)
        client.set_registered_model_alias(NAME, versions.CHAMPION, "1")
        yield paths


def with_feedback(data: Dataset) -> Dataset:
    """Return the data set with dark digits on white among its training and validation examples."""
    inverted = Split(255 - data.train.inputs, data.train.targets)

    def joined(split: Split, rows: slice) -> Split:
        parts = (split.inputs, inverted.inputs[rows]), (split.targets, inverted.targets[rows])
        return Split(*(np.concatenate(part) for part in parts))

    return replace(
        data,
        train=joined(data.train, slice(0, 500)),
        validation=joined(data.validation, slice(500, 800)),
        feedback=500,
        feedback_validation=300,
    )


@pytest.fixture
def server(home: Paths, tmp_path: Path) -> Server:
    images, labels = kit.digits()
    files.remove(state.folder(home, NAME))
    classifier = kit.linear_classifier(images[:600], labels[:600])
    return Server(classifier, images[1400:], labels[1400:], tmp_path / "inferences.db")


def take(home: Paths, server: Server, hour: int) -> Look:
    return look.run(home, "digits", SETTINGS, str(server.log), START + timedelta(hours=hour))


def test_a_look_at_traffic_like_the_reference_and_at_drifted_traffic(home: Paths, server: Server) -> None:
    assert "0 images" in take(home, server, 0).summary
    server.answer(server.images[:100])
    assert "100 images since the last look; the next needs 200" in take(home, server, 1).summary
    server.answer(server.images[100:300])
    calm = take(home, server, 2)
    assert (calm.images, calm.alarms, calm.plot) == (300, (), None)
    assert "no alarm; estimated accuracy 9" in calm.summary
    assert calm.summary in state.described(home, NAME)
    server.answer(255 - server.images[:250])
    drifted = take(home, server, 3)
    assert drifted.images == 250
    assert {"inputs", "outputs"} <= {alarm.check for alarm in drifted.alarms}
    assert "contrast" in drifted.summary
    assert "unreliable under drift" in drifted.summary
    assert drifted.plot and drifted.plot.startswith(b"\x89PNG")
    history = MlflowClient().get_metric_history(drifted.run_id, "images")
    assert [(point.step, point.value) for point in history] == [(1, 300), (2, 250)]
    assert MlflowClient().list_artifacts(drifted.run_id, "alarms")
    gauges = (state.folder(home, NAME) / "metrics.prom").read_text()
    assert 'mnistflow_monitor_images{model="digits-classifier",version="1"} 250.0' in gauges
    assert take(home, server, 4).images == 0  # nothing is looked at twice
    kept = state.read(home, NAME)
    assert kept and [alarm.check for alarm in kept.alarms] == [alarm.check for alarm in drifted.alarms]


def test_drift_that_the_champion_has_learned_raises_no_alarm_and_other_drift_does(home: Paths, server: Server) -> None:
    MlflowClient().set_registered_model_alias(NAME, versions.CHAMPION, "3")
    try:
        for hour, share in enumerate((250, 125, 0)):
            mixed = np.concatenate([255 - server.images[:share], server.images[share:250]])
            server.answer(mixed, version=3)
            assert take(home, server, hour).alarms == ()
        server.answer(np.roll(server.images[:250], 8, axis=2), version=3)
        drifted = take(home, server, 3)
    finally:
        MlflowClient().set_registered_model_alias(NAME, versions.CHAMPION, "1")
    assert "inputs" in {alarm.check for alarm in drifted.alarms}


def test_feedback_is_counted_once_and_wrong_answers_are_an_alarm(home: Paths, server: Server) -> None:
    ids = server.answer(server.images[:220])
    right = [CLASSES[label] for label in server.classifier.probabilities(server.images[:220]).argmax(axis=1)]
    server.report(ids[:51], [*right[:50], CLASSES[(int(right[50]) + 1) % 10]])
    rejected = [report for report in reports.read(str(server.log), None, catalog.get("digits")) if report.id == ids[50]]
    reviews.record(str(server.log), rejected, "reject", "ada@laptop")
    assert "of 50 labelled 100.0%" in take(home, server, 0).summary
    more = server.answer(server.images[:220])
    server.report(more[:150], [CLASSES[(int(name) + 1) % 10] for name in right[:150]])
    wrong = take(home, server, 1)
    assert [alarm.check for alarm in wrong.alarms] == ["accuracy"]
    assert "of 200 labelled 25.0%" in wrong.summary


def test_labels_that_are_sent_again_or_corrected_count_once(home: Paths, server: Server) -> None:
    ids = server.answer(server.images[:250])[:20]
    wrong = [CLASSES[(int(label) + 1) % 10] for label in server.labels[:20]]
    server.report(ids, wrong)
    first = take(home, server, 0)
    assert [alarm.check for alarm in first.alarms] == ["accuracy"]
    assert "of 20 labelled" in first.summary
    for hour, again in enumerate((wrong, [CLASSES[(int(label) + 2) % 10] for label in server.labels[:20]]), 1):
        server.answer(server.images[:250])
        server.report(ids, again)
        second = take(home, server, hour)
        assert second.alarms == ()
        assert "of 20 labelled" in second.summary


def test_a_report_of_a_clock_that_was_ahead_hides_no_later_report(home: Paths, server: Server) -> None:
    for hour, ahead in enumerate((365 * 86400, 0)):
        (one, *_) = server.answer(server.images[:210])
        server.report([one], ["3"])
        store = LogStore(str(server.log))
        store.write("UPDATE feedback SET time = time + ? WHERE id = ?", [(ahead, one)])
        store.close()
        assert f"of {hour + 1} labelled" in take(home, server, hour).summary


def test_a_clock_that_jumps_neither_raises_an_alarm_nor_prevents_one(home: Paths, server: Server) -> None:
    server.answer(server.images[:200])
    take(home, server, 0)
    server.answer(server.images[:200])
    years = 30 * 8766
    assert take(home, server, years).alarms == ()
    server.answer(255 - server.images[:250])
    assert {"inputs", "outputs"} <= {alarm.check for alarm in take(home, server, 1).alarms}


@pytest.mark.long
def test_a_night_without_the_registry_loses_no_image(
    home: Paths, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer(server.images[:200])
    take(home, server, 0)
    before = state.read(home, NAME)
    with monkeypatch.context() as night:
        night.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
        night.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        for hour in range(1, 9):
            server.answer(server.images[:30])
            with pytest.raises(Exception, match="127") as failure:
                take(home, server, hour)
            assert is_transient(failure.value)  # so the flow tries again, and then fails with a notification
    assert state.read(home, NAME) == before
    morning = take(home, server, 9)
    assert (morning.images, morning.alarms) == (240, ())


def test_another_champion_begins_anew_where_the_log_has_come_to(home: Paths, server: Server) -> None:
    server.answer(255 - server.images[:250])
    assert take(home, server, 0).alarms
    MlflowClient().set_registered_model_alias(NAME, versions.CHAMPION, "2")
    try:
        assert "version 2 has no reference" in take(home, server, 1).summary
    finally:
        MlflowClient().set_registered_model_alias(NAME, versions.CHAMPION, "1")
    before = state.read(home, NAME)
    assert before
    state.write(home, NAME, before.model_copy(update={"version": 7, "labelled": 5}))
    server.answer(server.images[:210], version=1)
    anew = take(home, server, 2)
    assert (anew.images, anew.alarms) == (210, ())
    after = state.read(home, NAME)
    assert after and (after.version, after.looks, after.labelled) == (1, 1, 0)
    assert after.alarms == before.alarms


def test_a_deleted_log_is_read_from_its_beginning(home: Paths, server: Server) -> None:
    server.report(server.answer(server.images[:300])[:5], ["3"] * 5)
    assert take(home, server, 0).images == 300
    server.log.unlink()
    server.report(server.answer(server.images[:200])[:2], ["3"] * 2)
    anew = take(home, server, 1)
    assert anew.images == 200
    assert "of 7 labelled" in anew.summary


def test_rubbish_is_one_line_and_changes_nothing(home: Paths, server: Server, tmp_path: Path) -> None:
    rubbish = replace(server, log=tmp_path / "rubbish.db")
    rubbish.log.write_bytes(b"no database" * 100)
    with pytest.raises(DataError, match="is not the inference log of a server"):
        take(home, rubbish, 0)
    server.answer(server.images[:300])
    take(home, server, 0)
    path = state.folder(home, NAME) / "state.json"
    path.write_text('{"version": "many"}')
    with pytest.raises(DataError, match="Delete it: the monitoring then starts again"):
        take(home, server, 1)
    assert "is damaged" in state.described(home, NAME)
    path.unlink()
    with (
        files.claim(state.lock(home, NAME)),
        pytest.raises(MnistflowError, match="the monitoring of digits-classifier is already running"),
    ):
        take(home, server, 1)
    assert take(home, server, 1).images == 300
