"""Generated data sets: what is in them, and how they are split."""

from pathlib import Path

import numpy as np
import pytest

from mnistflow.data import catalog, prepare, report
from mnistflow.data.config import PrepareConfig
from mnistflow.errors import DataError
from mnistflow.splits import Dataset, OfficialSplits, Split

SETTINGS = PrepareConfig(
    validation_fraction=0.1,
    min_validation=8,
    seed=0,
    train_limit=1000,
    feedback=None,
    feedback_until=None,
    golden=None,
    feedback_use="unsuspicious",
    feedback_per_source=None,
    feedback_trust=0.5,
)


def made(name: str, folder: Path) -> Dataset:
    entry = catalog.get(name)
    assert entry.generate
    first = {path.name: path.read_bytes() for path in entry.generate(folder)}
    assert first == {path.name: path.read_bytes() for path in entry.generate(folder)}
    return prepare.build(entry, SETTINGS, entry.read(folder))


def test_a_series_is_held_out_from_its_end(tmp_path: Path) -> None:
    data = made("sine", tmp_path)
    assert data.train.inputs.shape == (1000, 10, 1)
    assert (data.train.inputs.dtype, data.train.targets.dtype) == (np.float32, np.float32)
    for split in data.splits.values():
        assert np.array_equal(split.inputs[1:, -1, 0], split.targets[:-1])  # one window after the other
    assert data.validation.inputs[0, -1, 0] == data.train.targets[-1]  # right behind the training values
    assert not np.isin(data.test.targets, data.train.targets).any()
    counts = report.figures(data)
    assert counts["duplicates"] == {"train_validation": 0, "train_test": 0, "validation_test": 0}
    assert counts["train"]["target_std"] == pytest.approx(0.5**0.5, abs=0.02)


def test_the_volume_of_trading_is_a_real_series_in_units_of_its_training_split(tmp_path: Path) -> None:
    entry = catalog.get("google_volume")
    assert entry.generate
    entry.generate(tmp_path)
    official = entry.read(tmp_path)
    assert (official.train.inputs.shape, official.test.inputs.shape) == ((817, 20, 1), (190, 20, 1))
    values = np.concatenate([official.train.inputs[0, :, 0], official.train.targets])
    assert (values.mean(), values.std()) == pytest.approx((0, 1), abs=1e-5)
    again = [path.read_bytes() for path in entry.generate(tmp_path)]
    assert again == [(tmp_path / f"{name}.npz").read_bytes() for name in ("train", "test")]


def test_vectors_have_two_classes_of_the_same_size(tmp_path: Path) -> None:
    data = made("vectors", tmp_path)
    assert data.train.inputs.shape == (1000, 100)
    assert data.train.inputs.dtype == np.float32
    assert [np.bincount(split.targets).tolist() for split in (data.train, data.validation)] == [[500, 500], [400, 400]]


@pytest.mark.parametrize("name", ["sine", "google_volume", "vectors"])
def test_the_report_counts_targets_and_shows_examples(tmp_path: Path, name: str) -> None:
    data = made(name, tmp_path)
    report.write(data, tmp_path / "report")
    rows = (tmp_path / "report/targets.csv").read_text().splitlines()[1:]
    assert sum(int(row.rpartition(",")[2]) for row in rows) == sum(map(len, data.splits.values()))
    assert (tmp_path / "report/samples.png").read_bytes().startswith(b"\x89PNG")


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    entry = catalog.get("sine")
    assert entry.generate
    entry.generate(tmp_path)
    official = entry.read(tmp_path)
    for broken in (
        Split(np.full_like(official.train.inputs, np.nan), official.train.targets),
        Split(official.train.inputs, np.full_like(official.train.targets, np.inf)),
    ):
        with pytest.raises(DataError, match="not finite"):
            prepare.build(entry, SETTINGS, OfficialSplits(broken, official.test))
