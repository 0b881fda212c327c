"""Statistics of images that are drawn to have known ones."""

import numpy as np
import pytest

from mnistflow.monitoring import statistics
from mnistflow.tasks import corruptions


def bar(width: int = 4, slope: float = 0.0, left: int = 12, ink: int = 255, paper: int = 0) -> np.ndarray:
    """Return a straight, upright or slanted bar, uint8 `[28, 28]`."""
    image = np.full((28, 28), paper, np.uint8)
    for row in range(4, 24):
        start = left + round(slope * (row - 13.5))
        image[row, start : start + width] = ink
    return image


def of(*images: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(statistics.NAMES, statistics.of_images(np.stack(images)).T, strict=True))


def test_levels_and_shares() -> None:
    found = of(bar(), bar(ink=100, paper=40), bar(ink=0, paper=255))
    assert found["background"] == pytest.approx([0, 40 / 255, 1])
    assert found["contrast"] == pytest.approx([1, 60 / 255, -1])
    assert found["ink"] == pytest.approx([80 / 784] * 3, abs=1e-4)
    assert np.ptp(found["stroke_width"]) < 1e-4


def test_stroke_width_slant_and_centre() -> None:
    found = of(bar(2), bar(4), bar(4, slope=0.4), bar(4, slope=-0.4), bar(4, left=20))
    assert found["stroke_width"][1] > 1.4 * found["stroke_width"][0]
    assert found["slant"][[0, 1]] == pytest.approx(0, abs=1e-5)
    assert found["slant"][2] == pytest.approx(np.arctan(0.4), abs=0.03)
    assert found["slant"][3] == pytest.approx(-np.arctan(0.4), abs=0.03)
    assert found["centre_x"][1] == pytest.approx(0, abs=1e-5)
    assert found["centre_x"][4] == pytest.approx(8 / 27, abs=1e-5)
    assert found["centre_y"] == pytest.approx(0, abs=1e-5)


def test_empty_images_and_images_with_colours() -> None:
    assert np.all(statistics.of_images(np.zeros((2, 28, 28), np.uint8)) == 0)
    image = bar()
    coloured = np.stack([image] * 3, axis=-1)
    assert statistics.of_images(coloured[None]) == pytest.approx(statistics.of_images(image[None]), abs=1e-5)


def test_each_corruption_moves_the_statistic_that_is_named_for_it() -> None:
    generator = np.random.default_rng(0)
    images = np.stack([bar(4, slope) for slope in generator.uniform(-0.1, 0.1, 200)])
    before = statistics.of_images(images).mean(axis=0)
    moved = {
        "background": corruptions.fog(images, 0.7, generator),
        "contrast": corruptions.contrast(images, 0.25, generator),
        "stroke_width": corruptions.blur(images, 1.5, generator),
        "ink": corruptions.zigzags(images, 3, generator),
    }
    for name, corrupted in moved.items():
        index = statistics.NAMES.index(name)
        assert abs(statistics.of_images(corrupted).mean(axis=0)[index] - before[index]) > 0.1 * abs(before[index])
