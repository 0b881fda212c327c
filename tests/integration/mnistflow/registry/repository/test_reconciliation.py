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

from flows.cli.status_lines import status_lines
from mnistflow import files
from mnistflow.errors import RegistryError
from mnistflow.registry import promotion, status, versions
from mnistflow.registry.repository import publisher, reconciliation
from mnistflow.registry.versions import Version
from mnistflow.tracking import lease
from mnistflow.tracking.store import open_store

pytestmark = [pytest.mark.slow, pytest.mark.long]

DATASET = "own_of_machines"
NAME = versions.model_name(DATASET)
COUNT = 4
# More of them, or another seed, ask the same of another sequence: MACHINE_STEPS=200 MACHINE_SEED=1.
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
    ours, theirs = (machine.paths for machine in machines)
    for number in (1, 2):
        promotion.promote(ours, NAME, number)
    promotion.change_rollout(ours, NAME, canary=0.0, shadow=False)
    reconciliation.reconcile(theirs, NAME)
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
    assert reconciliation.reconcile(both[1].paths, NAME)
    assert "lags" not in command(theirs, "status")
    check_agreement(both, NAME, "after a rollback")


def test_a_rollout_is_followed_by_every_machine(both: list[Machine]) -> None:
    ours, theirs = (machine.paths for machine in both)
    first = promotion.change_rollout(theirs, NAME, canary=0.125, number=4)
    assert reconciliation.reconcile(ours, NAME)
    check_agreement(both, NAME, "during a canary")
    assert publisher.is_intact(ours, versions.find(NAME, 4))
    again = promotion.change_rollout(ours, NAME, canary=0.125, number=4)  # begins anew where a server has withdrawn it
    assert first != again == publisher.read_rollout(ours, NAME)
    (ours.models / NAME / "rollout.json").write_text("[]")
    assert reconciliation.reconcile(ours, NAME)
    assert reconciliation.reconcile(theirs, NAME)
    check_agreement(both, NAME, "after it was set again")
    promotion.promote(ours, NAME, 4)
    assert reconciliation.reconcile(theirs, NAME)
    assert [publisher.read_rollout(paths, NAME) for paths in (ours, theirs)] == [None, None]
    MlflowClient().set_registered_model_tag(NAME, "mnistflow.rollout", "no rollout")
    assert not reconciliation.reconcile(ours, NAME)
    assert promotion.change_rollout(ours, NAME, canary=0.0) is None
    model = open_store().model(NAME)
    assert model and "mnistflow.rollout" not in model.tags


def test_a_folder_of_another_registry_is_replaced_and_the_server_notices(both: list[Machine]) -> None:
    folder = both[0].paths.models / NAME
    images = np.random.default_rng(1).integers(0, 256, (16, 28, 28), np.uint8)
    shutil.rmtree(folder)
    for number in (1, 2):
        other = kit.untrained(100 + number)
        kit.publish(folder.parent, number, other, images, name=NAME, dataset=DATASET, run_id="f" * 32)
    kit.set_champion(folder.parent, 1, NAME)
    shown = [text for _, text in status_lines(status.read(both[0].paths, DATASET))]
    assert any("those of another registry" in text for text in shown)

    def answers(version: int, classifier: kit.Classifier) -> bool:
        path = f"/v2/models/{NAME}/versions/{version}/infer"
        answer = server.client.post(path, json=kit.inference_request(images[:1])).json()
        wanted = classifier.probabilities(images[:1])[0]
        return "outputs" in answer and np.allclose(answer["outputs"][0]["data"], wanted, atol=1e-5)

    with kit.Server(folder.parent) as server:
        assert answers(1, kit.untrained(101))
        assert answers(2, kit.untrained(102))  # in memory beside the champion
        assert promotion.promote(both[0].paths, NAME, 1).number == 1
        wait_until(lambda: answers(1, kit.untrained(0)))
        promotion.promote(both[0].paths, NAME, 2)
        assert published(both)[0] == 2
        wait_until(lambda: answers(2, kit.untrained(1)))
    reconciliation.reconcile(both[1].paths, NAME)
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
    with pytest.raises(RegistryError, match=r"a different model\.onnx from the one registered"):
        publisher.publish(both[0].paths, versions.find(NAME, number))
    assert not (both[0].paths.models / NAME / str(number)).exists()
    store.delete_model_version(NAME, str(number))


def test_machines_that_decide_at_the_same_time_decide_one_after_the_other(both: list[Machine]) -> None:
    with reconciliation.acquire_lease(NAME):
        waiting = [machine.start("promote", NAME, number) for machine, number in zip(both, (3, 4), strict=True)]
        wait_until(lambda: tickets() == 3)
        assert open_store().aliases(NAME)[versions.CHAMPION] == 2
    for process in waiting:
        process.join()
        assert process.exitcode == 0
    for machine in both:
        reconciliation.reconcile(machine.paths, NAME)
    check_agreement(both, NAME, "after both promotions")
    assert all("became champion by hand" in versions.find(NAME, number).history[-1] for number in (3, 4))
    assert tickets() == 0


def tickets() -> int:
    model = open_store().model(NAME)
    return sum(key.startswith(lease.TAG) for key in model.tags) if model else 0


def test_all_agree_whatever_two_machines_do_and_whoever_is_killed(both: list[Machine]) -> None:
    counts = disturb(both, NAME, range(1, COUNT + 1), STEPS, SEED)
    print(json.dumps(counts))  # noqa: T201
    assert sum(counts.values()) >= STEPS
