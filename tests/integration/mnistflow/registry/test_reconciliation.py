"""Several machines on one MLflow server: the registry decides, and every repository follows it."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
import serving_kit as kit
from checkouts import Checkout, make_checkout, write_params
from machines import Machine, check_agreement, disturb
from mlflow import MlflowClient
from registries import using
from tracking_server import register
from waiting import wait_until

from mnistflow import files
from mnistflow.errors import RegistryError
from mnistflow.registry import publisher, reconciliation, rollouts, versions
from mnistflow.registry.versions import Version
from mnistflow.tracking import lease
from mnistflow.tracking.store import open_store

pytestmark = pytest.mark.slow

DATASET = "own_of_machines"
NAME = versions.model_name(DATASET)
COUNT = 4
STEPS = int(os.environ.get("MACHINE_STEPS", "12"))
SEED = int(os.environ.get("MACHINE_SEED", "0"))


@pytest.fixture(scope="module")
def checkouts(mlflow_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Checkout]]:
    """Two checkouts on one server."""
    made = [
        make_checkout(tmp_path_factory.mktemp("machine") / name, MLFLOW_TRACKING_URI=mlflow_uri) for name in ("a", "b")
    ]
    for checkout in made:
        write_params(checkout, **{"fetch.dataset": "digits", "fetch.fallback": "null"})
    yield made
    for checkout in made:
        checkout.close()


@pytest.fixture(scope="module")
def machines(mlflow_uri: str, checkouts: list[Checkout]) -> Iterator[list[Machine]]:
    """The checkouts; this process acts in the first."""
    found = [Machine(mlflow_uri, checkout.folder) for checkout in checkouts]
    with using(mlflow_uri, found[0].paths):
        yield found


@pytest.fixture(scope="module")
def made(machines: list[Machine]) -> list[Version]:
    """Versions 1 to 4, none of them champion."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (16, 28, 28), np.uint8)
    return [register(machines[0].paths, DATASET, kit.untrained(seed), images) for seed in range(COUNT)]


@pytest.fixture
def both(machines: list[Machine], made: list[Version]) -> list[Machine]:
    """Both machines, with champion 2 after 1 and nothing tried."""
    for number in (1, 2):
        machines[0].run("promote", NAME, number)
    machines[0].run("end", NAME)
    machines[1].run("reconcile", NAME)
    return machines


def command(checkout: Checkout, *arguments: str) -> str:
    return checkout.run(*arguments, "--dataset", DATASET).stdout


def published(machines: list[Machine]) -> list[int | None]:
    return [publisher.published_champion(machine.paths, NAME) for machine in machines]


def test_evaluated_logged_registered_and_published_is_one_file(both: list[Machine], made: list[Version]) -> None:
    version, paths = versions.find(NAME, 2), both[1].paths
    evaluated = kit.untrained(1).onnx().SerializeToString()
    served = paths.models / NAME / "2/model.onnx"
    assert served.read_bytes() == evaluated
    assert version.has_exact_file
    assert version.sha256 == files.sha256(served) == files.read_json(served.with_name("model.json"))["sha256"]
    uri = f"models:/{NAME}/2"
    assert Path(mlflow.artifacts.download_artifacts(f"{uri}/model.onnx")).read_bytes() == evaluated
    images = np.zeros((1, 28, 28), np.uint8)
    predicted = mlflow.pyfunc.load_model(uri).predict({"images": images})["probabilities"]
    assert predicted == pytest.approx(kit.untrained(1).probabilities(images), abs=1e-5)
    assert mlflow.onnx.load_model(uri).graph.input[0].name == "images"


def test_a_rollback_obeys_the_promotion_of_another_machine(both: list[Machine], checkouts: list[Checkout]) -> None:
    ours, theirs = checkouts
    assert "version 3" in command(theirs, "promote", "3")
    assert published(both) == [2, 3]
    shown = command(ours, "status")
    assert "the champion is version 3, but version 2 is published here: `mnistflow follow --once`" in " ".join(
        shown.split()
    )
    assert f"champion: {NAME} version 2 again" in command(ours, "rollback")
    assert open_store().aliases(NAME)[versions.CHAMPION] == 2
    assert versions.find(NAME, 3).is_overruled
    assert "lags" in command(theirs, "status")
    both[1].run("reconcile", NAME)
    assert "lags" not in command(theirs, "status")
    check_agreement(both, NAME, "after a rollback")


def test_a_rollout_is_followed_by_every_machine(both: list[Machine], checkouts: list[Checkout]) -> None:
    assert "version 4 answers 12.5% of the requests" in command(checkouts[1], "canary", "12.5%", "--version", "4")
    both[0].run("reconcile", NAME)
    check_agreement(both, NAME, "during a canary")
    assert publisher.is_whole(both[0].paths, versions.find(NAME, 4))
    first = rollouts.read(NAME)
    assert "version 4" in command(checkouts[0], "canary", "12.5%")
    assert first != rollouts.read(NAME) == publisher.read_rollout(both[0].paths, NAME)  # set again, it begins anew
    command(checkouts[0], "promote", "4")
    both[1].run("reconcile", NAME)
    assert [publisher.read_rollout(machine.paths, NAME) for machine in both] == [None, None]
    MlflowClient().set_registered_model_tag(NAME, "mnistflow.rollout", "no rollout")
    assert not reconciliation.reconcile(both[0].paths, NAME)
    command(checkouts[0], "canary", "off")
    assert "mnistflow.rollout" not in open_store().model(NAME).tags  # type: ignore[union-attr]


def test_a_folder_of_another_registry_is_replaced_and_the_server_notices(
    both: list[Machine], checkouts: list[Checkout]
) -> None:
    folder = both[0].paths.models / NAME
    images = np.random.default_rng(1).integers(0, 256, (16, 28, 28), np.uint8)
    shutil.rmtree(folder)
    for number in (1, 2):
        other = kit.untrained(100 + number)
        kit.publish(folder.parent, number, other, images, name=NAME, dataset=DATASET, run_id="f" * 32)
    kit.crown(folder.parent, 1, NAME)
    assert "those of another registry" in " ".join(command(checkouts[0], "status").split())

    def answers(version: int, classifier: kit.Classifier) -> bool:
        path = f"/v2/models/{NAME}/versions/{version}/infer"
        answer = server.client.post(path, json=kit.question(images[:1])).json()
        return bool(np.allclose(answer["outputs"][0]["data"], classifier.probabilities(images[:1]).ravel(), atol=1e-5))

    with kit.Server(folder.parent) as server:
        assert answers(1, kit.untrained(101))
        assert answers(2, kit.untrained(102))  # in memory beside the champion
        assert "version 1 (" in command(checkouts[0], "promote", "1")
        wait_until(lambda: answers(1, kit.untrained(0)))
        command(checkouts[0], "promote", "2")
        assert published(both)[0] == 2
        wait_until(lambda: answers(2, kit.untrained(1)))
    both[1].run("reconcile", NAME)
    check_agreement(both, NAME, "after another registry")


def test_an_artifact_that_is_not_the_registered_file_is_not_published(both: list[Machine], mlflow_uri: str) -> None:
    number = register(both[0].paths, DATASET, kit.untrained(9), np.zeros((4, 28, 28), np.uint8)).number
    local = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}/{number}/MLmodel"))
    model_id = next(line.split()[-1] for line in local.read_text().splitlines() if line.startswith("model_id"))
    with using(mlflow_uri, both[0].paths):
        store = MlflowClient()
        forged = both[0].folder / "model.onnx"
        forged.write_bytes(kit.untrained(10).onnx().SerializeToString())
        store.log_model_artifact(model_id, str(forged))
    with pytest.raises(RegistryError, match=r"another model\.onnx than was registered"):
        publisher.publish(both[0].paths, versions.find(NAME, number))
    assert not (both[0].paths.models / NAME / str(number)).exists()
    store.delete_model_version(NAME, str(number))


def test_machines_that_decide_at_the_same_time_decide_one_after_the_other(
    both: list[Machine], checkouts: list[Checkout]
) -> None:
    with reconciliation.decide(NAME):
        command_line = checkouts[1].start("promote", "3", "--dataset", DATASET)
        process = both[1].start("promote", NAME, 4)
        wait_until(lambda: tickets() == 3)
        assert open_store().aliases(NAME)[versions.CHAMPION] == 2
    assert command_line.wait() == 0
    process.join()
    both[0].run("reconcile", NAME)
    both[1].run("reconcile", NAME)
    check_agreement(both, NAME, "after both promotions")
    served = [versions.find(NAME, number).history[-1] for number in (3, 4)]
    assert all("became champion by hand" in line for line in served)
    assert tickets() == 0


def tickets() -> int:
    model = open_store().model(NAME)
    return sum(key.startswith(lease.TAG) for key in model.tags) if model else 0


def test_all_agree_whatever_two_machines_do_and_whoever_is_killed(both: list[Machine]) -> None:
    counts = disturb(both, NAME, range(1, COUNT + 1), STEPS, SEED)
    print(json.dumps(counts))  # noqa: T201
    assert sum(counts.values()) >= STEPS
