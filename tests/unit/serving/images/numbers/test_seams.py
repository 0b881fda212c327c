"""Seams: they go through gaps and through contacts of digits, and there are no more of them than the limit."""

import numpy as np
import pytest

from serving.images.numbers import seams

WIDTH = 8  # of a stroke


def ink(height, width, *strokes):
    """Return a field of ink with strokes, each `top, bottom, left, right`."""
    field = np.zeros((height, width), np.float32)
    for top, bottom, left, right in strokes:
        field[top:bottom, left:right] = 1
    return field


def separates(found, first, second):
    """Return whether there is a seam with one box on its left and another one on its right."""
    (top, bottom, _, right), (other_top, other_bottom, left, _) = first, second
    is_right = (found.columns[:, top:bottom] >= right).all(axis=1)
    is_left = (found.columns[:, other_top:other_bottom] <= left).all(axis=1)
    return bool((is_right & is_left).any())


def test_a_seam_goes_through_a_gap_between_boxes_that_overlap():
    roof, foot = (0, WIDTH, 0, 60), (72, 80, 50, 100)
    stem, post = (0, 60, 0, WIDTH), (20, 80, 92, 100)
    found = seams.find(ink(80, 100, roof, stem, foot, post), WIDTH, 20)

    between = [number for number in range(len(found)) if found.is_in_gap[number]]

    assert len(between) == 3  # the ends of the line, and the gap
    assert separates(found, roof, foot)
    assert separates(found, stem, post)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_round_digits_that_touch_are_separated(depth):
    rows, columns = np.mgrid[:80, :120]
    radius = np.hypot((rows - 39.5) / 40, (columns - 27.5) / 28)
    ring = ((radius <= 1) & (radius >= 1 - WIDTH / 34)).astype(np.float32)
    found = seams.find(np.maximum(ring, np.roll(ring, 56 - depth, axis=1)), WIDTH, 20)

    outside = np.abs(found.cumulative_ink.sum(axis=1) - ring.sum())

    assert outside.min() <= 0.05 * ring.sum(), outside / ring.sum()


def test_a_stroke_beside_a_round_digit_is_separated():
    rows, columns = np.mgrid[:80, :80]
    radius = np.hypot((rows - 39.5) / 40, (columns - 37.5) / 28)
    ring = (radius <= 1) & (radius >= 1 - WIDTH / 34)
    bar = (0, 80, 10 - WIDTH + 2, 12)
    found = seams.find(np.maximum(ring.astype(np.float32), ink(80, 80, bar)), WIDTH, 20)

    outside = np.abs(found.cumulative_ink.sum(axis=1) - 80 * WIDTH)

    assert outside.min() <= 0.1 * 80 * WIDTH, outside


def test_a_line_begins_and_ends_with_a_seam_and_has_no_more_than_the_limit():
    random = np.random.default_rng(0)
    noise = (random.random((90, 300)) < 0.5).astype(np.float32)

    for limit in (0, 3, 50):
        found = seams.find(noise, 2, limit)

        assert 2 <= len(found) <= limit + 2
        assert (found.columns[0] == 0).all()
        assert (found.columns[-1] == 300).all()
        assert (np.diff(found.cumulative_ink.sum(axis=1)) >= 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (400, 30), (300, 640)])
def test_a_line_may_have_any_shape(shape):
    found = seams.find(np.ones(shape, np.float32), max(1, min(shape) / 4), 256)

    assert found.columns.shape == (len(found), shape[0])
    assert found.columns.min() == 0
    assert found.columns.max() == shape[1]
