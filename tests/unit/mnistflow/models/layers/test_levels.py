"""Normalization of levels: the same digit under other light looks the same to a network."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mnistflow.splits import Dataset

pytestmark = pytest.mark.slow

Images = NDArray[np.float32]


def levelled(images: Images) -> Images:
    # Imports Keras, which takes seconds: not while tests are collected.
    from mnistflow.models.layers.levels import Levels

    return np.asarray(Levels()(images.astype(np.float32)))


@pytest.fixture(scope="module")
def images(digits: Dataset) -> Images:
    return (digits.test.inputs[:100] / 255).astype(np.float32)


@pytest.mark.parametrize("light", ["inverted", "faint", "on grey", "dark ink on grey"])
def test_light_makes_no_difference(images, light) -> None:
    changed = {
        "inverted": 1 - images,
        "faint": 0.1 * images,
        "on grey": 0.4 + 0.3 * images,
        "dark ink on grey": 0.6 - 0.3 * images,
    }
    np.testing.assert_allclose(levelled(changed[light]), levelled(images), atol=1e-3)


def test_the_background_is_dark_and_the_ink_bright(images) -> None:
    result = levelled(images)
    assert np.median(result) == 0
    assert result.min() == 0
    ink = np.where(images > 0.5, result, np.nan)
    assert np.nanmean(ink) == pytest.approx(1, abs=0.1)


def test_an_image_of_one_grey_stays_empty() -> None:
    flat = np.stack([np.full((28, 28), grey, np.float32) for grey in (0, 0.5, 1)])
    assert not levelled(flat).any()


def test_images_need_not_be_square() -> None:
    assert levelled(np.eye(12, 6, dtype=np.float32)[None]).shape == (1, 12, 6)
