"""How generated images are asked for, measured and compared."""

from dataclasses import replace

import numpy as np
import pytest

from mnistflow import tasks
from mnistflow.arrays import Array
from mnistflow.models import ModelConfig
from mnistflow.splits import Dataset, Split
from mnistflow.tasks.generation.features import features

TASK = tasks.get("generation")


@pytest.fixture(scope="module")
def data(digits: Dataset) -> Dataset:
    return replace(digits, name="digits_generation", task="generation")


@pytest.fixture(scope="module")
def evaluation(data: Dataset) -> Split:
    return TASK.evaluation_split(data.test)


def test_every_generator_is_asked_for_the_same_images(data, evaluation) -> None:
    again = TASK.evaluation_split(data.test)
    assert (evaluation.inputs == again.inputs).all()
    assert (evaluation.inputs["class"] == data.test.targets).all()
    assert evaluation.inputs["latent"].std() == pytest.approx(1, abs=0.02)
    assert (evaluation.targets["image"] == data.test.inputs).all()


def test_other_real_images_are_nearer_than_noise_and_copies_are_found(data, evaluation) -> None:
    generator = np.random.default_rng(0)
    # A training image of the class that is asked for, each drawn at random.
    rows = [generator.choice(np.flatnonzero(data.train.targets == label)) for label in data.test.targets]
    real, noise = data.train.inputs[rows], generator.integers(0, 256, data.test.inputs.shape, np.uint8)
    good, bad = (TASK.measure(images, evaluation.targets, data.classes) for images in (real, noise))
    assert good.metrics["frechet_distance"] < bad.metrics["frechet_distance"] / 10
    assert good.metrics["agreement"] > 0.8
    assert bad.metrics["agreement"] < 0.3
    assert good.metrics["real_agreement"] > 0.9
    assert good.by_class.keys() == good.support.keys() == set(data.classes)
    assert TASK.score(real, evaluation.targets) == good.metrics["frechet_distance"] == good.metrics["loss"]

    novelty = TASK.measure_novelty(real, data)
    assert novelty["copies"] == 1
    assert novelty["nearest_ratio"] == 0
    assert novelty["frechet_floor"] < bad.metrics["frechet_distance"] / 10
    assert TASK.measure_novelty(noise, data)["copies"] == 0

    won, lost = (TASK.paired_test(*pair, evaluation.targets) for pair in ((real, noise), (noise, real)))
    assert (won.wins, won.losses) == (lost.losses, lost.wins) == (20, 0)
    assert won.favours_candidate
    assert not lost.favours_candidate
    assert won.p_value < 1e-4
    same = TASK.paired_test(real, real, evaluation.targets)
    assert (same.wins, same.losses, same.p_value) == (0, 0, 1.0)


def test_images_agree_up_to_rounding() -> None:
    one: Array = np.full((3, 2, 2), 255, np.uint8)
    other: Array = one.copy()
    other[0, 0, 0], other[1, 1, 1] = 254, 0
    parity = TASK.compare_outputs(one, other, tie=0)
    assert (parity.max_gap, parity.disagreements, parity.rows) == (255, 1, 3)


def test_features_are_those_of_the_committed_classifier(data) -> None:
    found = features(data.test.inputs[:2])
    assert (found.shape, found.dtype) == ((2, 64), np.float32)


def test_only_generators_generate() -> None:
    models = ModelConfig()
    assert models.compatible(TASK, (28, 28)) == ["gan"]
    assert "gan" not in models.compatible(tasks.get("image_classification"), (28, 28))
    assert "multiples of 4" in str(models.gan.incompatibility(TASK, (30, 28)))
