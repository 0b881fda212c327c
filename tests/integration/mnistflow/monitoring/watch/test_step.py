"""Watch over promotions on a real registry, log and model repository: rollback, end, and kills between its steps."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import onnx
import pytest
import serving_kit as kit
import stores
import tracking_server
from checkouts import ROOT, Checkout, checkout_environment
from configured import configured
from mlflow import MlflowClient
from onnx import TensorProto, helper, numpy_helper

from mnistflow import config, files, server_client
from mnistflow.errors import DataError
from mnistflow.monitoring import state
from mnistflow.monitoring.watch import record, step
from mnistflow.monitoring.watch.record import Watch
from mnistflow.paths import Paths
from mnistflow.registry import aliases, history, promotion, versions
from mnistflow.registry.gate.judgement import Judgement
from mnistflow.registry.gate.verdict import Verdict
from mnistflow.registry.repository import publisher, reconciliation
from serving.inference_log.store import Feedback, LogStore

# A look whose process is killed where it enters a function.
KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from mnistflow import config, environment
from mnistflow.monitoring.watch import step
from mnistflow.paths import Paths

folder, (params, log, module, function) = Path.cwd(), sys.argv[1:]
paths = Paths(folder, folder)
environment.configure(paths)
settings = config.load(Path(params)).monitor.with_values({"report_ratio": 1.0})

def kill(frame, event, _):
    if event == "call" and frame.f_code.co_qualname == function and frame.f_globals.get("__name__") == module:
        os.kill(os.getpid(), signal.SIGKILL)

sys.setprofile(kill)
step.advance(paths, "digits", settings, log, datetime.now(UTC))
print("survived")
"""

pytestmark = pytest.mark.slow

DATASET, NAME = "digits", "digits-classifier"
GOOD, BAD = 1, 2
CLASSES = tuple("0123456789")
SETTINGS = config.load(ROOT / "params.yaml").monitor.with_values(
    {"watch_hours": 24.0, "watch_labels": 400, "report_ratio": 1.0}
)


@dataclass(frozen=True)
class Fragile(kit.Classifier):
    """A classifier that fails on images whose first pixel is white, which no validation shows it."""

    def onnx(self) -> onnx.ModelProto:
        model = super().onnx()
        graph = model.graph
        graph.node[-1].output[0] = "answers"
        graph.node.extend(
            [
                helper.make_node("Gather", ["layer0", "first"], ["corner"], axis=1),
                helper.make_node("Cast", ["corner"], ["place"], to=TensorProto.INT64),
                helper.make_node("Gather", ["nothing", "place"], ["looked_up"]),
                helper.make_node("Add", ["answers", "looked_up"], ["probabilities"]),
            ]
        )
        graph.initializer.extend(
            [
                numpy_helper.from_array(np.array([0]), "first"),
                numpy_helper.from_array(np.zeros(1, np.float32), "nothing"),
            ]
        )
        return model


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paths]:
    """A checkout with a good version, a bad one, and another with the weights of the bad one."""
    folder = tmp_path_factory.mktemp("watch")
    stores.copy_mlflow(folder)
    images, labels = kit.digits()
    with configured(Paths(folder, folder)) as paths:
        for count in (600, 30, 30):
            classifier = kit.linear_classifier(images[:count], labels[:count])
            tracking_server.register(paths, DATASET, classifier, images)
        yield paths


@pytest.fixture
def log(home: Paths, tmp_path: Path) -> Path:
    """An empty log of a server whose champion is the good version, without a watch."""
    files.remove(state.folder(home, NAME))
    promotion.promote(home, NAME, GOOD)
    return tmp_path / "inferences.db"


def by_gate(home: Paths, number: int) -> datetime:
    """Promote a version as the gate does, and return when."""
    with reconciliation.acquire_lease(NAME):
        opponent = versions.version_of_alias(NAME, versions.CHAMPION)
        verdict = Verdict("promote", ("significantly better",))
        judgement = Judgement(verdict, opponent.number if opponent else None)
        promotion.apply(home, versions.find(NAME, number), judgement)
    return datetime.now(UTC)


def serve(log: Path, version: int, count: int) -> None:
    """Log answers of a version to images, with feedback on them, as a server does."""
    images, labels = kit.digits()
    size = {GOOD: 600, BAD: 30}[version]
    classifier = kit.linear_classifier(images[:size], labels[:size])
    shown, true = images[1000 : 1000 + count], labels[1000 : 1000 + count]
    answers = classifier.probabilities(shown).tolist()
    names = json.dumps(CLASSES)
    rows = [
        (f"{time.time_ns()}", 0, time.time(), NAME, version, image.tobytes(), "[28,28]", names, json.dumps(answer))
        for image, answer in zip(shown, answers, strict=True)
    ]
    store = LogStore(str(log))
    store.insert(rows)
    for row, label in zip(rows, true, strict=True):
        store.record_feedback(Feedback(str(row[0]), 0, CLASSES[label]), "")
    store.close()


def take(home: Paths, log: Path, now: datetime | None = None, **settings: object) -> Watch | None:
    return step.advance(home, DATASET, SETTINGS.with_values(settings), str(log), now or datetime.now(UTC))


def champion() -> int | None:
    found = versions.version_of_alias(NAME, versions.CHAMPION)
    return found.number if found else None


def test_a_worse_version_is_rolled_back_once_and_stays_away(home: Paths, log: Path) -> None:
    assert take(home, log) is None  # whom a person has promoted is not watched
    by_gate(home, BAD)
    begun = take(home, log)
    assert begun and (begun.version, begun.predecessor, begun.outcome) == (BAD, GOOD, "watching")
    serve(log, BAD, 120)
    done = take(home, log)
    assert done and done.outcome == "rolled back"
    assert done.losses > 2 * done.wins
    assert champion() == publisher.published_champion(home, NAME) == GOOD
    (*_, last) = history.events(versions.all_versions(NAME))
    assert (last.number, last.by) == (GOOD, "rollback")
    assert last.reason.startswith(f"watch: worse: {done.wins} won and {done.losses} lost of 120 images")
    changes = len(history.events(versions.all_versions(NAME)))
    assert take(home, log) == done
    assert len(history.events(versions.all_versions(NAME))) == changes
    assert versions.find(NAME, BAD).is_overruled
    assert "rolled back: worse" in record.described(home, NAME)
    # A person still can bring it back, and is not watched.
    promotion.promote(home, NAME, BAD)
    assert take(home, log) == done
    assert champion() == BAD


def test_a_version_that_is_no_worse_is_kept_and_the_watch_ends(home: Paths, log: Path) -> None:
    promotion.promote(home, NAME, BAD)
    promoted = by_gate(home, GOOD)
    serve(log, GOOD, 150)
    watching = take(home, log)
    assert watching and (watching.outcome, watching.labelled) == ("watching", 150)
    assert watching.wins > watching.losses
    kept = take(home, log, promoted + timedelta(hours=25))
    assert kept and kept.outcome == "kept"
    assert f"{kept.wins} won and {kept.losses} lost of 150 images" in record.described(home, NAME)
    assert take(home, log, promoted + timedelta(hours=26)) == kept
    assert champion() == GOOD


@pytest.fixture
def ahead(log: Path) -> Iterator[None]:
    """A last move by a machine whose clock was a year ahead: moves after it get later times."""
    client, known = MlflowClient(), {version.number: version.history for version in versions.all_versions(NAME)}
    last = aliases.last_move(NAME)
    assert last
    _, _, what = last.line.partition(" ")
    replace(last, line=f"{(datetime.now(UTC) + timedelta(days=365)).isoformat()} {what}").write(NAME)
    yield
    client.set_registered_model_alias(NAME, versions.CHAMPION, str(last.version))
    last.write(NAME)
    for number, lines in known.items():
        client.set_model_version_tag(NAME, str(number), "mnistflow.history", "\n".join(lines))


@pytest.mark.usefixtures("ahead")
def test_after_a_move_by_a_clock_that_was_ahead_a_worse_version_is_rolled_back(home: Paths, log: Path) -> None:
    by_gate(home, BAD)
    begun = take(home, log)
    assert begun and datetime.fromisoformat(begun.since) > datetime.now(UTC)
    serve(log, BAD, 120)
    done = take(home, log)
    assert done and (done.outcome, done.labelled) == ("rolled back", 120)
    assert champion() == GOOD


@pytest.mark.usefixtures("ahead")
def test_after_a_move_by_a_clock_that_was_ahead_the_watch_ends_in_time(home: Paths, log: Path) -> None:
    promoted = by_gate(home, BAD)
    for hours, outcome in ((0, "watching"), (23, "watching"), (25, "kept")):
        found = take(home, log, promoted + timedelta(hours=hours))
        assert found and found.outcome == outcome


def test_a_person_who_decides_first_ends_the_watch(home: Paths, log: Path) -> None:
    by_gate(home, BAD)
    take(home, log)
    promotion.rollback(home, NAME, "a person saw it first")
    serve(log, BAD, 120)
    ended = take(home, log)
    assert ended and (ended.outcome, ended.announced) == ("overtaken", True)
    assert "version 1 became champion by rollback" in ended.reason
    assert champion() == GOOD


def test_without_permission_to_roll_back_a_person_is_notified(home: Paths, log: Path) -> None:
    by_gate(home, BAD)
    serve(log, BAD, 120)
    worse = take(home, log, rollback=False)
    assert worse and (worse.outcome, worse.announced) == ("worse", False)
    assert champion() == BAD
    allowed = take(home, log)
    assert allowed and allowed.outcome == "rolled back"


@pytest.mark.parametrize(
    "function",
    [
        record.write,  # before anything is stored
        promotion.rollback,  # after the outcome, before the rollback
        aliases._record,  # after the alias has moved, before that is recorded
        reconciliation._follow_rollout,  # before the repository has followed
    ],
)
def test_a_kill_anywhere_loses_no_step_and_repeats_none(
    home: Paths, log: Path, function: Callable[..., object]
) -> None:
    by_gate(home, BAD)
    serve(log, BAD, 120)
    before = len(history.events(versions.all_versions(NAME)))
    checkout = Checkout(home.root, checkout_environment())
    killed_at = function.__module__, function.__qualname__
    assert not checkout.python(KILLED, str(ROOT / "params.yaml"), str(log), *killed_at, check=False)
    for _ in range(2):
        done = take(home, log)
        assert done and done.outcome == "rolled back"
        assert done.reason.startswith("worse: ")
    assert champion() == publisher.published_champion(home, NAME) == GOOD
    assert len(history.events(versions.all_versions(NAME))) == before + 1


def test_rubbish_is_one_line(home: Paths, log: Path) -> None:
    by_gate(home, BAD)
    log.write_bytes(b"no database" * 100)
    with pytest.raises(DataError, match="is not the inference log of a server"):
        take(home, log)
    path = state.folder(home, NAME) / "watch.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"version": "many"}')
    with pytest.raises(DataError, match="Delete it: the watch then starts again"):
        take(home, log)
    assert "is damaged" in record.described(home, NAME)


def test_the_same_weights_in_another_file_are_known(home: Paths) -> None:
    bad, same, good = (versions.find(NAME, number) for number in (BAD, 3, GOOD))
    assert bad.weights == same.weights != good.weights


def test_a_version_on_which_a_server_fails_is_rolled_back(home: Paths, log: Path) -> None:
    images, labels = kit.digits()
    known = kit.linear_classifier(images[:600], labels[:600])
    fragile = tracking_server.register(home, DATASET, Fragile(known.weights, known.biases), images).number
    with kit.Server(home.models) as server:
        server_client.record_address(home, server.url)

        def statuses(shown: np.ndarray) -> set[int]:
            return {server.client.post("/predict", content=image.tobytes()).status_code for image in shown}

        assert statuses(images[:100]) == {200}
        by_gate(home, fragile)
        kit.wait_until(lambda: server.client.get("/status").json()["models"][NAME]["champion"] == fragile)
        assert statuses(images[:100]) == {200}
        begun = take(home, log)
        assert begun and (begun.version, begun.outcome) == (fragile, "watching")
        spotted = images[:60].copy()
        spotted[:, 0, 0] = 255
        assert statuses(spotted) == {500}
        done = take(home, log)
        assert done and done.outcome == "rolled back"
        assert done.reason.startswith("failing: 60 of 160 requests")
        kit.wait_until(lambda: server.client.get("/status").json()["models"][NAME]["champion"] == GOOD)
        assert statuses(spotted) == {200}
