"""The demo's traffic: digits that nobody has trained on, each drawn once, changed but still what they were."""

import numpy as np
import pytest
from checkouts import ROOT, TINY
from demo import traffic
from demo.traffic import Digits, Kind

from mnistflow import config, splits
from mnistflow.data import fetch, prepare
from mnistflow.paths import Paths

KINDS = (traffic.MNIST, traffic.BROAD_PEN, traffic.TURNED, traffic.STRIPED, traffic.INVERTED, traffic.OTHER_MIX)
COUNT = 100


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """Prepared digits, of which 400 are for training."""
    folder = tmp_path_factory.mktemp("demo")
    settings = config.load(ROOT / "params.yaml").with_values(TINY)
    made = Paths(folder, folder)
    fetch.fetch(made, settings.fetch)
    prepare.prepare(made, settings.prepare)
    return made


def test_each_digit_is_drawn_once_and_never_one_that_was_trained_on(paths: Paths) -> None:
    digits = Digits(paths, seed=0)
    drawn = [digits.draw(traffic.MNIST, COUNT) for _ in range(4)]
    images = [image.tobytes() for split in drawn for image in split.inputs]
    assert len(set(images)) == len(images) == 4 * COUNT
    trained = {image.tobytes() for image in splits.load(paths.prepared).train.inputs}
    assert not trained & set(images)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_seed_draws_the_same_week(paths: Paths, kind: Kind) -> None:
    one, other = (Digits(paths, seed=3).draw(kind, COUNT) for _ in range(2))
    assert one.sha256() == other.sha256()
    assert one.inputs.shape == (COUNT, 28, 28)
    assert one.inputs.dtype == np.uint8


def test_another_mix_has_more_of_some_classes(paths: Paths) -> None:
    def share(kind: Kind) -> float:
        return float(np.isin(Digits(paths, seed=0).draw(kind, COUNT).targets, traffic.FAVOURED).mean())

    assert share(traffic.OTHER_MIX) > 1.5 * share(traffic.MNIST)


def test_a_label_that_is_wrong_on_purpose_is_wrong() -> None:
    labels = np.arange(10).repeat(20)
    wrong = traffic.wrong(labels, np.random.default_rng(0))
    assert not (wrong == labels).any()
    assert set(wrong) == set(range(10))
