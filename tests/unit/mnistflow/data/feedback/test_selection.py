"""Selection of feedback: what is held back and why, on real digits with labels that are wrong on purpose."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from mnistflow.arrays import Array
from mnistflow.data import catalog
from mnistflow.data.config import PrepareConfig
from mnistflow.data.feedback.reports import Report
from mnistflow.data.feedback.selection import select
from mnistflow.data.sources import digits, idx
from mnistflow.splits import OfficialSplits, Split

DIGITS = catalog.get("digits")
SHARE_WRONG = 0.2


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> OfficialSplits:
    folder = tmp_path_factory.mktemp("digits")
    digits.write_official_files(folder)
    return idx.read_splits(folder)


@pytest.fixture(scope="module")
def known(official: OfficialSplits) -> OfficialSplits:
    """The first 700 training examples; the others are what users send."""
    return OfficialSplits(official.train.take(np.arange(700)), official.test)


def reports(images: Array, labels: Sequence[int], source: str = "") -> list[Report]:
    return [
        Report(f"{source}-{row:04}", 0, float(row), image, "0", str(label), source, None)
        for row, (image, label) in enumerate(zip(images, labels, strict=True))
    ]


def config(**values: object) -> PrepareConfig:
    section = {
        **{"validation_fraction": 0.1, "min_validation": 8, "seed": 0, "train_limit": None},
        **{"feedback": None, "feedback_until": None, "golden": None, "feedback_use": "unsuspicious"},
        **{"feedback_per_source": None, "feedback_trust": 0.0},
    }
    return PrepareConfig.validated({**section, **values}, "prepare")


def sent(official: OfficialSplits) -> Split:
    return official.train.take(np.arange(700, 1300))


@pytest.mark.parametrize("inverted", [False, True])
def test_most_wrong_labels_are_held_and_few_right_ones(
    official: OfficialSplits, known: OfficialSplits, inverted: bool
) -> None:
    """Also of pictures of a kind that the official training split does not have."""
    examples = sent(official)
    images = 255 - examples.inputs if inverted else examples.inputs
    generator = np.random.default_rng(0)
    is_wrong = generator.random(len(examples)) < SHARE_WRONG
    labels = np.where(is_wrong, (examples.targets + generator.integers(1, 10, len(examples))) % 10, examples.targets)
    reported = reports(images, labels.tolist())
    held = select(reported, DIGITS, known, config()).held
    is_held = np.array([report.key in held for report in reported])
    assert is_held[is_wrong].mean() > 0.8
    assert is_held[~is_wrong].mean() < 0.1
    assert select(reported, DIGITS, known, config(feedback_use="all")).held == {}
    assert len(select(reported, DIGITS, known, config(feedback_use="reviewed")).held) == len(reported)


def test_a_single_wrong_label_is_found(official: OfficialSplits, known: OfficialSplits) -> None:
    examples = sent(official).take(np.arange(3))
    labels = [int(examples.targets[0] + 5) % 10, *examples.targets[1:].tolist()]
    held = select(reports(examples.inputs, labels), DIGITS, known, config()).held
    ((report, why),) = held.values()
    assert report.number == 0
    assert why.endswith(f"looks like {examples.targets[0]}")


def test_contradictions_wait_until_a_review_decides(official: OfficialSplits, known: OfficialSplits) -> None:
    examples = sent(official).take(np.arange(1))
    label = int(examples.targets[0])
    one, other = (reports(examples.inputs, [given], source)[0] for given, source in ((label, "a"), (label + 1, "b")))
    selection = select([one, other], DIGITS, known, config())
    assert selection.used == ()
    assert {why for _, why in selection.held.values()} == {f"the same image is reported as {label} and as {label + 1}"}
    selection = select([replace(one, decision="accept"), replace(other, decision="reject")], DIGITS, known, config())
    assert [report.source for report in selection.used] == ["a"]
    assert [why for _, why in selection.excluded.values()] == ["rejected by a review"]


def test_a_source_is_held_back_beyond_its_limit_and_below_its_trust(
    official: OfficialSplits, known: OfficialSplits
) -> None:
    examples = sent(official).take(np.arange(60))
    right = reports(examples.inputs[:30], examples.targets[:30].tolist(), "honest")
    half_wrong = [int(label + 3 * (row % 2)) % 10 for row, label in enumerate(examples.targets[30:])]
    wrong = reports(examples.inputs[30:], half_wrong, "mean")
    held = select([*right, *wrong], DIGITS, known, config(feedback_trust=0.7, feedback_per_source=20)).held
    assert {key for key in held if key.startswith("mean")} == {report.key for report in wrong}
    beyond = [report.key for report, why in held.values() if why == "source honest has sent more than 20 reports"]
    assert beyond == [report.key for report in right[:10]]


def test_test_images_and_unknown_classes_never_join(official: OfficialSplits) -> None:
    tested = reports(official.test.inputs[:1], [3], "a")
    unknown = replace(reports(official.train.inputs[:1], [3], "b")[0], class_name="seven")
    selection = select([*tested, unknown], DIGITS, official, config(feedback_use="all"))
    assert selection.used == ()
    assert [why for _, why in selection.excluded.values()] == [
        "in the test split",
        "of class seven, which digits does not have",
    ]
