"""What users say of served pictures joins the training images of the next run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import serving_kit as kit
from checkouts import Checkout, make_checkout, write_params

from mnistflow import splits
from mnistflow.data.sources import digits, idx
from mnistflow.paths import Paths

pytestmark = pytest.mark.slow


def say(server: kit.Server, image: np.ndarray, class_name: str) -> None:
    given = server.client.post("/predict", content=image.tobytes()).raise_for_status().json()["id"]
    server.client.post("/feedback", json={"id": given, "class_name": class_name}).raise_for_status()


@pytest.mark.long
def test_feedback_joins_the_training_images_and_no_test_image_does(tmp_path: Path, prefect_api: str) -> None:
    checkout = make_checkout(tmp_path / "checkout", PREFECT_API_URL=prefect_api)
    images, labels = kit.digits()
    kit.publish(tmp_path / "models", 1, kit.linear_classifier(images, labels), images)
    kit.set_champion(tmp_path / "models", 1)
    digits.write_official_files(tmp_path)
    test_image = idx.read_splits(tmp_path).test.inputs[0]
    everything = {"prepare.feedback": "var/inferences.db", "prepare.feedback_use": "all"}
    write_params(checkout, **{"fetch.dataset": "digits", **everything})
    checkout.run("fetch")
    assert "feedback" not in checkout.run("prepare").stderr  # the log does not exist yet
    log = checkout.folder / "var/inferences.db"
    with kit.Server(tmp_path / "models", "--inference-log", str(log)) as server:
        for image, name in ((images[0], "3"), (images[1], "7"), (test_image, "1")):
            say(server, image, name)
        assert "(2 of them from feedback)" in prepared(checkout)
        assert "prepare unchanged" in checkout.run("ingest").stdout
        assert "excluded: 1 (in the test split: 1)" in checkout.run("feedback", "review").stdout
        accepted = checkout.run("feedback", "accept", "--source", "")
        assert "note: 1 report excluded from training: in the test split" in accepted.stderr
        say(server, images[2], "5")
        assert "(3 of them from feedback)" in prepared(checkout)
    checkout.run("prepare")
    train = splits.load_split(Paths(checkout.folder, checkout.folder).prepared, "train")
    added = {image.tobytes(): label for image, label in zip(train.inputs[-3:], train.targets[-3:], strict=True)}
    assert added == {images[0].tobytes(): 3, images[1].tobytes(): 7, images[2].tobytes(): 5}


def test_doubtful_feedback_waits_for_a_review(tmp_path: Path, prefect_api: str) -> None:
    """Of 40 reports, those of one client are wrong; a person accepts one, corrected, and rejects another."""
    checkout = make_checkout(tmp_path / "checkout", PREFECT_API_URL=prefect_api)
    images, labels = kit.digits()
    kit.publish(tmp_path / "models", 1, kit.linear_classifier(images, labels), images)
    kit.set_champion(tmp_path / "models", 1)
    write_params(checkout, **{"fetch.dataset": "digits", "prepare.feedback": "var/inferences.db"})
    checkout.run("fetch")
    log = checkout.folder / "var/inferences.db"
    with kit.Server(tmp_path / "models", "--inference-log", str(log), MNISTFLOW_SERVE_KEYS="honest,mean") as server:
        for row in range(40):
            key, added = ("mean", 3) if row < 12 else ("honest", 0)
            server.client.headers["authorization"] = f"Bearer {key}"
            say(server, images[row], str((labels[row] + added) % 10))
    picture = tmp_path / "held.png"
    found = reviewed(checkout, "--picture", str(picture))
    (source,) = {row["source"] for row in found["held"]}
    assert (found["used"], len(found["held"])) == (28, 12)
    assert picture.read_bytes().startswith(b"\x89PNG")
    first, second = (row["key"] for row in found["held"][:2])
    assert "accepted 1 report," in checkout.run("feedback", "accept", first, "--as", "0").stdout
    output = checkout.run("prepare").stderr
    assert "(29 of them from feedback)" in output
    assert "11 reports wait for `mnistflow feedback review`" in output
    assert "rejected 11 reports" in checkout.run("feedback", "reject", second, "--source", source).stdout
    found = reviewed(checkout)
    assert (found["used"], found["excluded"], found["held"]) == (29, 11, [])
    failed = checkout.run("feedback", "accept", "nothing", check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: there is no report nothing. ")
    write_params(checkout, **{"prepare.feedback": "null"})
    unused = checkout.run("feedback", "review", "--picture", str(tmp_path / "none.png"))
    counted = "usable for training: 29 reports, held back: 0, excluded: 11 (rejected by a review: 11)"
    assert counted in unused.stdout
    assert "prepare.feedback is null, so trainings use no reports" in unused.stderr
    assert "none.png is not written" in unused.stderr


def reviewed(checkout: Checkout, *arguments: str) -> dict[str, Any]:
    return dict(json.loads(checkout.run("feedback", "review", "--json", *arguments).stdout))


def prepared(checkout: Checkout) -> str:
    """Ingest, and return what prepare printed."""
    assert "prepare done" in checkout.run("ingest").stdout
    return (max((checkout.folder / "var/runs").iterdir()) / "logs/prepare.log").read_text()


def test_what_is_no_log_is_said_in_one_line(tmp_path: Path, prefect_api: str) -> None:
    checkout = make_checkout(tmp_path / "checkout", PREFECT_API_URL=prefect_api)
    write_params(checkout, **{"fetch.dataset": "digits", "prepare.feedback": "params.yaml"})
    failed = checkout.run("ingest", check=False)
    assert failed.returncode == 1
    assert "is not the inference log of a server" in failed.stderr
