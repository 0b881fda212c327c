"""Augmentation of real digits: what each parameter does, and that a seed says it all."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mnistflow import tasks
from mnistflow.config import Config
from mnistflow.learners.augmentation.pipeline import augment
from mnistflow.learners.config import AugmentConfig
from mnistflow.learners.fitting import supervised
from mnistflow.models.networks.network import Network
from mnistflow.splits import Dataset, Split
from mnistflow.tasks.task import Signature

pytestmark = pytest.mark.slow

PHOTOMETRIC: dict[str, Any] = {"stroke": 0.5, "lines": 2, "blur": 1.0, "contrast": 0.5, "background": 0.4, "noise": 0.3}
EVERYTHING = AugmentConfig(
    shift=0.1,
    rotation=15,
    scale=0.1,
    shear=0.1,
    elastic=0.02,
    flip=True,
    cutout=0.2,
    photometric=0.5,
    outliers=0.1,
    **PHOTOMETRIC,
)


def changed(images: NDArray[np.uint8], config: AugmentConfig, seed: tuple[int, int] = (0, 0)) -> NDArray[np.uint8]:
    import tensorflow as tf  # which takes seconds: not while tests are collected

    return np.asarray(augment(tf.constant(images), tf.zeros(len(images), tf.int64), tf.constant(seed), config)[0])


def centres(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Centres of mass `[n, 2]`, row and column."""
    places = np.moveaxis(np.indices(images.shape[1:]), 0, -1)
    weights = images / images.sum(axis=(1, 2), keepdims=True)
    return np.einsum("nhw,hwi->ni", weights, places)


@pytest.fixture(scope="module")
def images(digits: Dataset) -> NDArray[np.uint8]:
    return digits.train.inputs[:200]


def test_nothing_set_changes_nothing(images) -> None:
    assert not AugmentConfig().active
    np.testing.assert_array_equal(changed(images, AugmentConfig()), images)


def test_the_seed_says_it_all(images) -> None:
    first = changed(images, EVERYTHING, (1, 2))
    np.testing.assert_array_equal(first, changed(images, EVERYTHING, (1, 2)))
    assert not np.array_equal(first, changed(images, EVERYTHING, (1, 3)))
    assert not np.array_equal(first, changed(images, EVERYTHING, (2, 2)))


@pytest.mark.parametrize(
    ("name", "value"),
    [("shift", 0.04), ("rotation", 15.0), ("scale", 0.1), ("shear", 0.1), ("elastic", 0.02), ("cutout", 0.2)],
)
def test_each_parameter_changes_most_images_a_little(images, name, value) -> None:
    moved = changed(images, AugmentConfig(**{name: value}))
    assert (moved != images).any(axis=(1, 2)).mean() > 0.4
    # Far closer to its own image than to others.
    own = np.abs(moved.astype(float) - images).mean(axis=(1, 2))
    other = np.abs(moved.astype(float) - np.roll(images, 1, axis=0)).mean(axis=(1, 2))
    assert np.median(own) < 0.5 * np.median(other)


def test_a_shift_moves_within_its_share_of_the_side(images) -> None:
    small = np.zeros_like(images)
    small[:, 8:20, 8:20] = images[:, 8:20, 8:20]
    small[:, 14, 14] = 255
    moved = centres(changed(small, AugmentConfig(shift=0.2))) - centres(small)
    assert np.abs(moved).max() <= 0.2 * 28 + 0.1
    assert np.abs(moved).max() > 0.15 * 28
    assert np.abs(moved.mean(axis=0)).max() < 1.0


def test_flip_mirrors_every_second_image_or_so(images) -> None:
    flipped = changed(images, AugmentConfig(flip=True))
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2))
    same = (flipped == images).all(axis=(1, 2))
    assert (mirrored | same).all()
    assert 0.35 < mirrored.mean() < 0.65


def test_cutout_blackens_a_rectangle_of_that_size() -> None:
    white = np.full((100, 28, 28), 255, np.uint8)
    black = changed(white, AugmentConfig(cutout=0.25)) == 0
    assert black.sum(axis=(1, 2)).max() == 7 * 7
    assert black.any(axis=(1, 2)).all()


@pytest.mark.parametrize(("name", "value"), PHOTOMETRIC.items())
def test_each_photometric_parameter_changes_a_share_of_the_images(images, name, value) -> None:
    moved = changed(images, AugmentConfig(photometric=0.5, **{name: value}))
    is_changed = (moved != images).any(axis=(1, 2))
    assert is_changed.sum() <= len(images) / 2
    assert is_changed.mean() > 0.3
    assert not is_changed[len(images) // 2 :].any()


def test_photometric_changes_have_their_largest_strength(images) -> None:
    thin = np.zeros((200, 28, 28), np.uint8)
    thin[:, 6:22, 13:15] = 255

    def grown(**config: Any) -> NDArray[np.float64]:
        return changed(thin, AugmentConfig(photometric=1, **config)).sum(axis=(1, 2)) / thin[0].sum()

    assert grown(stroke=1).max() == pytest.approx(2 * 18 / 16, abs=0.05)
    assert grown(stroke=1).min() < 0.05
    assert grown(contrast=0.5).min() == pytest.approx(0.5, abs=0.02)
    assert 0 < changed(thin, AugmentConfig(photometric=1, background=0.4))[:, 0, 0].max() <= 0.4 * 255 + 1
    dark = np.zeros_like(thin)
    assert 0.05 < (changed(dark, AugmentConfig(photometric=1, lines=2)) > 0).mean() < 0.3
    noisy = changed(dark + 128, AugmentConfig(photometric=1, noise=0.1)).std(axis=(1, 2))
    assert noisy.max() == pytest.approx(25.5, rel=0.1)


def test_outliers_replace_a_share_of_the_images_and_have_no_class(images) -> None:
    import tensorflow as tf

    labels = tf.constant(np.arange(200) % 10)
    mixed, classes = augment(tf.constant(images), labels, tf.constant((0, 0)), AugmentConfig(outliers=0.1))
    np.testing.assert_array_equal(classes[:20], [-1] * 20)
    np.testing.assert_array_equal(classes[20:], labels[20:])
    np.testing.assert_array_equal(mixed[20:], images[20:])
    assert (np.asarray(mixed[:20]) != images[:20]).any(axis=(1, 2)).all()


def test_images_need_not_be_square() -> None:
    tall = np.zeros((3, 12, 6), np.uint8)
    tall[:, 2:10, 2:4] = 200
    assert changed(tall, EVERYTHING).shape == tall.shape


def test_inputs_that_are_no_images_are_left_as_they_are(settings: Config, digits: Dataset) -> None:
    """A default for images does not stop the training of another task."""
    flat = {
        name: Split(part.inputs.reshape(-1, 784) / np.float32(255), part.targets)
        for name, part in digits.splits.items()
    }
    signature = Signature("numbers", "float32", (784,), "probabilities", (10,))
    histories = []
    for shift in (0.0, 0.1):
        chosen = settings.with_values({"train.augment.shift": shift, "train.epochs": 1})
        assert isinstance(chosen.model.chosen, Network)
        fitted = supervised.SupervisedFitting(
            tasks.get(digits.task),
            signature,
            chosen.model.chosen,
            chosen.train,
            train=flat["train"],
            validation=flat["validation"],
        ).finish(lambda *_: None)
        histories.append(fitted.history)
    assert histories[0] == histories[1]
