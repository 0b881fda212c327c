"""What users say of served pictures joins the training images of the next run."""

from pathlib import Path

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


def test_feedback_joins_the_training_images_and_no_test_image_does(tmp_path: Path, prefect_api: str) -> None:
    checkout = make_checkout(tmp_path / "checkout", PREFECT_API_URL=prefect_api)
    images, labels = kit.digits()
    kit.publish(tmp_path / "models", 1, kit.linear_classifier(images, labels), images)
    kit.crown(tmp_path / "models", 1)
    digits.write_official_files(tmp_path)
    test_image = idx.read_splits(tmp_path).test.inputs[0]
    write_params(checkout, **{"fetch.dataset": "digits", "prepare.feedback": "var/inferences.db"})
    checkout.run("fetch")
    assert "feedback" not in checkout.run("prepare").stderr  # the log does not exist yet
    log = checkout.folder / "var/inferences.db"
    with kit.Server(tmp_path / "models", "--inference-log", str(log)) as server:
        for image, name in ((images[0], "3"), (images[1], "7"), (test_image, "1")):
            say(server, image, name)
        assert "(2 of them from feedback)" in prepared(checkout)
        assert "prepare unchanged" in checkout.run("ingest").stdout
        say(server, images[2], "5")
        assert "(3 of them from feedback)" in prepared(checkout)
    checkout.run("prepare")
    train = splits.load_split(Paths(checkout.folder, checkout.folder).prepared, "train")
    added = {image.tobytes(): label for image, label in zip(train.inputs[-3:], train.targets[-3:], strict=True)}
    assert added == {images[0].tobytes(): 3, images[1].tobytes(): 7, images[2].tobytes(): 5}


def prepared(checkout: Checkout) -> str:
    """Ingest, and return what prepare said."""
    assert "prepare done" in checkout.run("ingest").stdout
    return (max((checkout.folder / "var/runs").iterdir()) / "logs/prepare.log").read_text()


def test_what_is_no_log_is_said_in_one_line(tmp_path: Path, prefect_api: str) -> None:
    checkout = make_checkout(tmp_path / "checkout", PREFECT_API_URL=prefect_api)
    write_params(checkout, **{"fetch.dataset": "digits", "prepare.feedback": "params.yaml"})
    failed = checkout.run("ingest", check=False)
    assert failed.returncode == 1
    assert "is not the inference log of a server" in failed.stderr
