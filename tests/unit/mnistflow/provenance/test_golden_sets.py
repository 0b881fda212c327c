"""Golden sets: never drawn from what the champion was trained on, refused if they are not as signed, and shared."""

from pathlib import Path

import numpy as np
import pytest
import serving_kit as kit
import signing_keys
from tracking_server import register

from mnistflow.data import catalog
from mnistflow.data.feedback import golden
from mnistflow.data.feedback.reports import FeedbackReports, Report
from mnistflow.errors import ConfigError, DataError, RegistryError
from mnistflow.paths import Paths
from mnistflow.pipeline import record
from mnistflow.provenance import golden_sets
from mnistflow.registry import promotion
from mnistflow.splits import Dataset
from mnistflow.tracking import runs

pytestmark = pytest.mark.slow

LEARNED_UNTIL = 5.0


@pytest.fixture
def reported(digits: Dataset) -> FeedbackReports:
    """Ten accepted reports of pictures that the official splits do not have, a second apart."""
    images = np.ascontiguousarray(np.rot90(digits.train.inputs[:10], axes=(1, 2)))
    reports = [Report(f"r{row}", 0, float(row), image, "0", "3", "", "accept") for row, image in enumerate(images)]
    return FeedbackReports("", catalog.get("digits"), reports)


def test_what_the_champion_was_trained_on_is_not_drawn(
    paths: Paths, digits: Dataset, reported: FeedbackReports
) -> None:
    version = register(paths, "digits", kit.untrained(0), digits.train.inputs)
    promotion.make_champion(paths, version, "gate")
    run = runs.resume(version.run_id)
    run.log_json({"feedback": {"examples": 6, "until": LEARNED_UNTIL}}, record.DATA)
    with pytest.raises(ConfigError, match="4 images of accepted reports, newer than the feedback"):
        golden_sets.draw(paths, reported, number=5, seed=0, by="ada", key=None)
    assert golden_sets.draw(paths, reported, number=4, seed=0, by="ada", key=None).since == LEARNED_UNTIL
    run.log_json({"feedback": {"examples": 0, "until": LEARNED_UNTIL}}, record.DATA)
    assert golden_sets.draw(paths, reported, number=10, seed=0, by="ada", key=None).since is None


def test_a_set_that_is_not_as_signed_is_refused(paths: Paths, reported: FeedbackReports) -> None:
    (private, _), (other, _) = signing_keys.write(paths.var / "a"), signing_keys.write(paths.var / "b")
    golden_sets.check_signature(paths, "digits", private)  # there is no set yet
    golden_sets.draw(paths, reported, number=5, seed=0, by="ada", key=None)
    with pytest.raises(RegistryError, match=r"model.sig is missing"):
        golden_sets.check_signature(paths, "digits", private)
    drawn = golden_sets.draw(paths, reported, number=6, seed=0, by="ada", key=private)
    assert golden_sets.is_signed(drawn)
    golden_sets.check_signature(paths, "digits", private)
    with pytest.raises(RegistryError, match="the signature is not valid"):
        golden_sets.check_signature(paths, "digits", other)
    (drawn.folder / golden.RECORD).write_text((drawn.folder / golden.RECORD).read_text().replace("ada", "eve"))
    with pytest.raises(RegistryError, match=r"golden.json not as signed"):
        golden_sets.check_signature(paths, "digits", private)
    golden_sets.sign(paths, "digits", private)
    golden_sets.check_signature(paths, "digits", private)


@pytest.fixture
def other(paths: Paths, tmp_path: Path) -> Paths:
    """Another machine's checkout, with the same MLflow."""
    return Paths(tmp_path / "other", tmp_path / "other")


def test_machines_with_one_mlflow_have_one_set(paths: Paths, other: Paths, reported: FeedbackReports) -> None:
    golden_sets.synchronize(other, "digits")
    assert golden.current(other, "digits") is None
    first = golden_sets.draw(paths, reported, number=4, seed=0, by="ada", key=None)
    golden_sets.synchronize(other, "digits")
    there = golden.current(other, "digits")
    assert there
    assert there.order == first.order
    read = golden.load(other, reported.entry, None)
    assert read is not None
    assert read.sha256() == first.sha256

    private, _ = signing_keys.write(paths.var / "a")
    golden_sets.sign(paths, "digits", private)
    golden_sets.synchronize(other, "digits")
    golden_sets.check_signature(other, "digits", private)

    # Drawn without MLflow, as before a set was shared, so both have the same number: the last one counts.
    last = [
        golden.draw(
            one, reported.entry, reported.reports, reported.entry.read(paths.raw),
            number=4, seed=seed, since=None, by="eve",
        )
        for seed, one in enumerate((paths, other), start=1)
    ]  # fmt: skip
    for one in (other, paths, other):
        golden_sets.synchronize(one, "digits")
    counts = max(last, key=lambda one: one.order)
    for one in (paths, other):
        current = golden.current(one, "digits")
        assert current
        assert current.order == counts.order
    assert counts.number == 2


def test_a_set_that_was_altered_in_mlflow_is_refused(paths: Paths, other: Paths, reported: FeedbackReports) -> None:
    drawn = golden_sets.draw(paths, reported, number=4, seed=0, by="ada", key=None)
    (stored,) = (paths.mlflow / "artifacts").rglob(golden.EXAMPLES)
    with np.load(drawn.folder / golden.EXAMPLES) as arrays:
        np.savez(stored, **{**arrays, "targets": arrays["targets"] + 1})
    with pytest.raises(DataError, match="was altered"):
        golden_sets.synchronize(other, "digits")
    assert golden.current(other, "digits") is None
