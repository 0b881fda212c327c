"""A user's own images go the whole way, as a folder or as an .npz file, and what is added to them is noticed."""

import json
from pathlib import Path

import numpy as np
import pytest
from checkouts import QUICK, make_checkout, write_params
from PIL import Image
from sklearn.datasets import load_digits

pytestmark = pytest.mark.slow

LABELS = {0: "zero", 1: "one", 4: "four"}


def test_own_images_from_the_folder_to_a_served_class_name(tmp_path: Path, prefect_api: str) -> None:
    checkout = make_checkout(tmp_path / "checkout", PREFECT_API_URL=prefect_api)
    source = load_digits()
    letters = checkout.folder / "var/letters"
    for index in np.flatnonzero(np.isin(source.target, list(LABELS))):
        place = letters / LABELS[source.target[index]]
        place.mkdir(parents=True, exist_ok=True)
        ink = np.kron(255 - source.images[index] * 15, np.ones((5, 5))).astype(np.uint8)
        Image.fromarray(ink).save(place / f"{index}.png")
    letters_only = {"fetch.dataset": "letters", "fetch.own": "{letters: var/letters}", "tune.trials": "0"}
    write_params(checkout, **{**QUICK, **letters_only})
    first = checkout.run("retrain")
    assert "letters-classifier version 1" in first.stdout
    picture = next((letters / "four").glob("*.png"))
    assert f"{picture.name}: four" in checkout.run("predict", str(picture)).stdout
    assert json.loads(checkout.run("status", "--json").stdout)["dataset"] == "letters"
    pictures = sorted(letters.glob("*/*.png"))
    pixels = np.stack([np.asarray(Image.open(path)) for path in pictures])
    np.savez(checkout.folder / "var/letters.npz", x=pixels, y=[path.parent.name for path in pictures])
    same = checkout.run("retrain", **{"fetch.own": "{letters: var/letters.npz}"})
    assert "fetch: done" in same.stderr
    assert "train: unchanged" in same.stderr
    assert "letters-classifier version 1" in same.stdout
    (letters / "zero/again.png").write_bytes(next((letters / "zero").glob("*.png")).read_bytes())
    assert "fetch done, prepare done" in checkout.run("ingest").stdout
    assert "fetch unchanged, prepare unchanged" in checkout.run("ingest").stdout
