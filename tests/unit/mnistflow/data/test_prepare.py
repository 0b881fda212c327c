"""Checks, splits and the report, on scikit-learn's digits."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checkouts import ROOT

from mnistflow import config
from mnistflow.data import catalog, fetch, prepare, report
from mnistflow.data.config import PrepareConfig
from mnistflow.data.sources import digits, idx
from mnistflow.errors import ConfigError, DataError
from mnistflow.paths import Paths
from mnistflow.splits import OfficialSplits, Split, load

ENTRY = catalog.get("digits")
SETTINGS = PrepareConfig(
    validation_fraction=0.1,
    min_validation=8,
    seed=0,
    train_limit=None,
    feedback=None,
    feedback_until=None,
    golden=None,
    feedback_use="unsuspicious",
    feedback_per_source=None,
    feedback_trust=0.5,
)


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> OfficialSplits:
    folder = tmp_path_factory.mktemp("digits")
    digits.write_official_files(folder)
    return idx.read_splits(folder)


def shares(split: Split) -> np.ndarray:
    return np.bincount(split.targets, minlength=10) / len(split)


def test_digits_look_like_mnist(official: OfficialSplits) -> None:
    images = np.concatenate([official.train.inputs, official.test.inputs])
    assert len(images) == 1797
    for image in images:
        rows, columns = np.nonzero(image.any(axis=1))[0], np.nonzero(image.any(axis=0))[0]
        assert max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1 <= 20
        mass = image.sum()
        centre = (image.sum(axis=1) @ np.arange(28) / mass, image.sum(axis=0) @ np.arange(28) / mass)
        assert np.allclose(centre, 14, atol=0.51)


def test_validation_is_a_stratified_part_of_training_and_the_test_split_is_untouched(official: OfficialSplits) -> None:
    made = prepare.build(ENTRY, SETTINGS, official)
    assert len(made.validation) == round(0.1 * len(official.train))
    assert len(made.train) + len(made.validation) == len(official.train)
    together = np.concatenate([made.train.inputs, made.validation.inputs]).reshape(len(official.train), -1)
    assert sorted(map(bytes, together)) == sorted(map(bytes, official.train.inputs.reshape(len(official.train), -1)))
    assert np.allclose(shares(made.validation), shares(official.train), atol=0.01)
    assert np.array_equal(made.test.inputs, official.test.inputs)
    assert np.array_equal(made.test.targets, official.test.targets)


@pytest.mark.parametrize(("kept", "validated"), [(60, 8), (20, 5), (16, 4)])
@pytest.mark.parametrize("fraction", [0.02, 0.1])
def test_a_small_class_has_enough_validation_examples_but_no_more_than_a_quarter(
    official: OfficialSplits, fraction: float, kept: int, validated: int
) -> None:
    sevens = np.flatnonzero(official.train.targets == 7)
    fewer = replace(official, train=official.train.take(np.setdiff1d(np.arange(1437), sevens[kept:])))
    made = prepare.build(ENTRY, SETTINGS.model_copy(update={"validation_fraction": fraction}), fewer)
    assert np.bincount(made.validation.targets)[7] == validated
    assert np.bincount(made.train.targets)[7] == kept - validated
    assert len(made.train) + len(made.validation) == len(fewer.train)


def test_the_seed_decides_the_splits(official: OfficialSplits) -> None:
    first, again = prepare.build(ENTRY, SETTINGS, official), prepare.build(ENTRY, SETTINGS, official)
    other = prepare.build(ENTRY, SETTINGS.model_copy(update={"seed": 1}), official)
    assert first.data_sha256 == again.data_sha256
    assert first.data_sha256 != other.data_sha256
    assert first.test_sha256 == other.test_sha256


def test_a_share_of_the_feedback_of_each_stretch_of_time_validates_and_no_picture_does_both(
    official: OfficialSplits,
) -> None:
    pictures = official.test.take(np.arange(100))
    numbers = np.concatenate([np.arange(100), np.full(30, 9)])  # the tenth picture is reported 31 times
    alone, made = (prepare.build(ENTRY, SETTINGS, official, one) for one in (None, pictures.take(numbers)))
    assert (alone.feedback, alone.feedback_validation) == (0, 0)
    assert (made.feedback, made.feedback_validation) == (90, 40)
    assert np.array_equal(made.validation.inputs[: len(alone.validation)], alone.validation.inputs)
    held_out = pictures.take(np.concatenate([np.arange(9, 100, 10), np.full(30, 9)]))
    assert np.array_equal(made.validation.inputs[-40:], held_out.inputs)
    assert np.array_equal(made.validation.targets[-40:], held_out.targets)
    learned = pictures.take(np.setdiff1d(np.arange(100), np.arange(9, 100, 10)))
    assert np.array_equal(made.train.inputs[-90:], learned.inputs)


def test_a_limit_takes_a_stratified_share_of_training_only(official: OfficialSplits) -> None:
    made = prepare.build(ENTRY, SETTINGS.model_copy(update={"train_limit": 200}), official)
    assert len(made.train) == 200
    assert np.allclose(shares(made.train), shares(official.train), atol=0.01)
    assert len(made.validation) == 144
    with pytest.raises(ConfigError, match="smaller than the number of classes, 10"):
        prepare.build(ENTRY, SETTINGS.model_copy(update={"train_limit": 9}), official)


def all_but_three_of_class_7(split: Split) -> np.ndarray:
    sevens = np.nonzero(split.targets == 7)[0]
    return np.setdiff1d(np.arange(len(split)), sevens[3:])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: Split(s.inputs.astype(np.float32), s.targets), "float32, not uint8"),
        (lambda s: Split(s.inputs[:, :27], s.targets), r"\[27, 28\], not \[28, 28\]"),
        (lambda s: Split(s.inputs[1:], s.targets), "targets have shape"),
        (lambda s: Split(s.inputs[:0], s.targets[:0]), "no examples"),
        (lambda s: Split(s.inputs // 255, s.targets), "at most 1"),
        (lambda s: Split(s.inputs, s.targets + 1), "label 10 is not among the 10 classes"),
        (lambda s: s.take(np.nonzero(s.targets != 7)[0]), "class '7' has no example"),
        (lambda s: s.take(all_but_three_of_class_7(s)), "10 to 1"),
    ],
)
def test_data_that_is_not_what_its_entry_says_is_refused(official: OfficialSplits, damage, message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepare.build(ENTRY, SETTINGS, OfficialSplits(damage(official.train), official.test))
    with pytest.raises(DataError, match="test split"):
        prepare.build(ENTRY, SETTINGS, OfficialSplits(official.train, damage(official.test)))


def test_the_report_counts_classes_blanks_and_duplicates(official: OfficialSplits) -> None:
    inputs = official.train.inputs.copy()
    inputs[0] = 0
    inputs[1:3] = official.test.inputs[0]
    made = prepare.build(ENTRY, SETTINGS, OfficialSplits(Split(inputs, official.train.targets), official.test))
    found, before = report.figures(made), report.figures(prepare.build(ENTRY, SETTINGS, official))

    def total(figures: dict, name: str) -> float:
        return sum(figures[split][name] for split in ("train", "validation"))

    assert total(found, "blank") == total(before, "blank") + 1
    across = found["duplicates"]
    assert across["train_test"] + across["validation_test"] >= 1
    assert sum(before["duplicates"].values()) == 0


def test_the_stage_writes_splits_and_report(tmp_path: Path) -> None:
    paths = Paths(tmp_path, tmp_path)
    settings = config.load(ROOT / "params.yaml").with_values({"fetch.dataset": "digits"})
    fetch.fetch(paths, settings.fetch)
    done = prepare.prepare(paths, settings.prepare)
    assert load(paths.prepared).data_sha256 == done.data_sha256
    folder = paths.reports / "prepare"
    assert (folder / "samples.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "targets.csv").read_text().count("\n") > 10
    assert {"train", "validation", "test", "duplicates"} <= set(json.loads((folder / "data.json").read_text()))
    (paths.raw / "t10k-labels-idx1-ubyte").write_bytes(b"changed")
    with pytest.raises(DataError, match="modified after it was fetched"):
        prepare.prepare(paths, settings.prepare)
    assert load(paths.prepared).data_sha256 == done.data_sha256
