"""What networks see of real digits whose box is stretched, or whose slant is undone."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mnistflow.splits import Dataset

pytestmark = pytest.mark.slow

Images = NDArray[np.float32]


def arranged(images: Images, kind: str) -> Images:
    # Imports Keras, which takes seconds: not while tests are collected.
    from mnistflow.models.layers.geometry import Geometry

    return np.asarray(Geometry(kind)(images))


def moments(images: Images) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres of mass `[n, 2]`, row and column, and slants `[n]`, columns a row."""
    places = np.moveaxis(np.indices(images.shape[1:]), 0, -1)
    weights = images.astype(np.float64) / images.sum(axis=(1, 2), keepdims=True)
    centres = np.einsum("nhw,hwi->ni", weights, places)
    rows, columns = np.moveaxis(places - centres[:, None, None], -1, 0)
    return centres, (weights * rows * columns).sum(axis=(1, 2)) / (weights * rows**2).sum(axis=(1, 2))


@pytest.fixture(scope="module")
def images(digits: Dataset) -> Images:
    return (digits.train.inputs[:200] / 255).astype(np.float32)


@pytest.mark.parametrize("kind", ["box", "upright"])
def test_where_a_digit_stands_makes_no_difference(kind, images) -> None:
    inner = np.zeros_like(images)
    inner[:, 4:24, 4:24] = images[:, 4:24, 4:24]

    moved = arranged(np.roll(inner, (3, -2), axis=(1, 2)), kind)

    np.testing.assert_allclose(moved, arranged(inner, kind), atol=1e-4)


def test_a_box_is_stretched_to_the_same_size_but_not_beyond_twice_its_own() -> None:
    images = np.zeros((2, 28, 28), np.float32)
    images[0, 6:16, 9:21] = 1
    images[1, 4:24, 10:13] = 1

    wide, narrow = arranged(images, "box") > 0.5

    assert (wide.any(1).sum(), wide.any(0).sum()) == (20, 20)
    assert (narrow.any(1).sum(), narrow.any(0).sum()) == (20, 6)


def test_upright_digits_stand_in_the_middle_without_a_slant(images) -> None:
    _, slants = moments(images)
    assert np.abs(slants).max() > 0.3

    centres, remaining = moments(arranged(images, "upright"))

    np.testing.assert_allclose(centres, 13.5, atol=0.3)
    assert np.abs(remaining[np.abs(slants) < 0.8]).max() < 0.1


@pytest.mark.parametrize("kind", ["box", "upright"])
def test_a_blank_image_stays_blank(kind) -> None:
    np.testing.assert_array_equal(arranged(np.full((1, 28, 28), 0.4, np.float32), kind), 0)
