"""Golden sets: what is drawn, that it stays as it is, and that no training sees it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checkouts import ROOT

from mnistflow import config
from mnistflow.arrays import Array
from mnistflow.data import catalog, prepare
from mnistflow.data.feedback import golden
from mnistflow.data.feedback.golden import GoldenSet
from mnistflow.data.feedback.reports import Report
from mnistflow.data.feedback.selection import select
from mnistflow.data.sources import digits, idx
from mnistflow.errors import ConfigError, DataError
from mnistflow.paths import Paths
from mnistflow.splits import OfficialSplits, load, save

DIGITS = catalog.get("digits")
SETTINGS = config.load(ROOT / "params.yaml").prepare
KNOWN = 700  # official training examples; the others are what users send


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> OfficialSplits:
    folder = tmp_path_factory.mktemp("digits")
    digits.write_official_files(folder)
    return idx.read_splits(folder)


@pytest.fixture(scope="module")
def official(everything: OfficialSplits) -> OfficialSplits:
    return OfficialSplits(everything.train.take(np.arange(KNOWN)), everything.test)


@pytest.fixture(scope="module")
def accepted(everything: OfficialSplits) -> list[Report]:
    sent = everything.train.take(np.arange(KNOWN, KNOWN + 60))
    return [
        Report(f"r-{row:03}", 0, float(row), image, "0", str(label), "", "accept")
        for row, (image, label) in enumerate(zip(sent.inputs, sent.targets, strict=True))
    ]


def draw(
    home: Path, official: OfficialSplits, reports: Sequence[Report], number: int, since: float | None = None
) -> GoldenSet:
    paths = Paths(home, home)
    return golden.draw(paths, DIGITS, reports, official, number=number, seed=0, since=since, by="somebody")


def altered(image: Array, by: int) -> Array:
    return np.clip(image.astype(int) + by, 0, 255).astype(np.uint8)


def test_no_training_sees_a_picture_of_the_set(
    tmp_path: Path, official: OfficialSplits, accepted: list[Report]
) -> None:
    """Neither a second report of it, nor another encoding of it, nor a copy in the official training split."""
    paths = Paths(tmp_path, tmp_path)
    draw(tmp_path, official, accepted, 20)
    frozen = golden.load(paths, DIGITS, None)
    assert frozen is not None and len(frozen) == 20
    again = [replace(report, id=f"again-{report.id}", decision=None) for report in accepted]
    encoded = [replace(report, id=f"jpeg-{report.id}", image=altered(report.image, 2)) for report in accepted]
    found = select([*accepted, *again, *encoded], DIGITS, official, SETTINGS, frozen)
    whys = {why for _, why in found.excluded.values()}
    assert (len(found.excluded), whys) == (60, {"in the golden set"})
    assert not golden.among(found.examples(DIGITS).inputs, frozen.inputs).any()
    leaked = OfficialSplits(
        replace(
            official.train,
            inputs=np.concatenate([official.train.inputs, frozen.inputs]),
            targets=np.concatenate([official.train.targets, frozen.targets]),
        ),
        official.test,
    )
    data = prepare.build(DIGITS, SETTINGS, leaked, found.examples(DIGITS), frozen)
    assert len(data.train) + len(data.validation) == KNOWN + len(found.used)
    assert not golden.among(data.train.inputs, frozen.inputs).any()
    assert not golden.among(data.validation.inputs, frozen.inputs).any()
    folder = tmp_path / "prepared"
    folder.mkdir()
    save(data, folder)
    kept = load(folder).golden
    assert kept is not None and kept.sha256() == frozen.sha256() == data.sha256["golden"]


def test_without_a_set_nothing_changes(tmp_path: Path, official: OfficialSplits) -> None:
    assert golden.load(Paths(tmp_path, tmp_path), DIGITS, None) is None
    assert golden.current(Paths(tmp_path, tmp_path), "digits") is None
    data = prepare.build(DIGITS, SETTINGS, official)
    assert (data.golden, set(data.splits)) == (None, {"train", "validation", "test"})


def test_only_what_a_review_has_accepted_is_drawn(
    tmp_path: Path, official: OfficialSplits, accepted: list[Report]
) -> None:
    """And no official picture, none with two labels, none that the champion was trained on."""
    waiting = [replace(report, decision=None) for report in accepted[:10]]
    rejected = [replace(report, decision="reject") for report in accepted[10:20]]
    two_labels = [
        replace(report, id=f"b-{report.id}", class_name=str((int(report.class_name) + 1) % 10))
        for report in accepted[20:25]
    ]
    known = [
        Report(f"known-{row}", 0, 50.0, image, "0", "0", "", "accept")
        for row, image in enumerate([*official.train.inputs[:5], *official.test.inputs[:5]])
    ]
    twice = [replace(report, id=f"twice-{report.id}") for report in accepted[25:]]
    reports = [*waiting, *rejected, *accepted[20:], *two_labels, *known, *twice]
    assert draw(tmp_path, official, reports, 35).examples == 35
    with pytest.raises(ConfigError, match="36 examples cannot be drawn: only 35 images"):
        draw(tmp_path, official, reports, 36)
    with pytest.raises(ConfigError, match="29 images of accepted reports, newer"):
        draw(tmp_path, official, reports, 30, since=30.0)
    earlier = replace(accepted[59], id="earlier", time=1.0, decision=None, image=altered(accepted[59].image, 2))
    with pytest.raises(ConfigError, match="28 images of accepted reports, newer"):
        draw(tmp_path, official, [*reports, earlier], 30, since=30.0)


def test_a_renewed_set_leaves_the_earlier_one_for_the_runs_that_used_it(
    tmp_path: Path, official: OfficialSplits, accepted: list[Report]
) -> None:
    paths = Paths(tmp_path, tmp_path)
    first, second = draw(tmp_path, official, accepted, 20), draw(tmp_path, official, accepted[30:], 20)
    assert (first.number, second.number) == (1, 2)
    assert golden.current(paths, "digits") == second
    earlier = golden.load(paths, DIGITS, first.sha256)
    assert earlier is not None and earlier.sha256() == first.sha256
    pinned = prepare.pin(SETTINGS, paths, "digits")
    assert pinned == {"prepare.golden": second.sha256}


def test_an_altered_set_is_refused(tmp_path: Path, official: OfficialSplits, accepted: list[Report]) -> None:
    paths = Paths(tmp_path, tmp_path)
    drawn = draw(tmp_path, official, accepted, 20)
    with np.load(drawn.folder / golden.EXAMPLES) as arrays:
        content = dict(arrays)
    content["targets"] = (content["targets"] + 1) % 10
    np.savez(drawn.folder / golden.EXAMPLES, **content)
    with pytest.raises(DataError, match="was altered"):
        golden.load(paths, DIGITS, None)
    (drawn.folder / golden.EXAMPLES).write_bytes(b"rubbish")
    with pytest.raises(DataError, match="is damaged"):
        golden.load(paths, DIGITS, drawn.sha256)
    (drawn.folder / golden.EXAMPLES).unlink()
    with pytest.raises(DataError, match="is missing"):
        golden.load(paths, DIGITS, drawn.sha256)
    record = json.loads((drawn.folder / golden.RECORD).read_text())
    (drawn.folder / golden.RECORD).write_text(json.dumps({**record, "number": 1, "rubbish": 2}))
    with pytest.raises(DataError, match="is damaged"):
        golden.current(paths, "digits")
