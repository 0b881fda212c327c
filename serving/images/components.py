"""Connected components of a mask: area, bounding box, and contact with the border of the image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self, TypeVar

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float32]
Pixel = TypeVar("Pixel", bound=np.generic)


@dataclass(frozen=True)
class Components:
    """The 8-connected components of a mask, numbered from 0. Every array has one entry for each component.

    Attributes:
        mask: `[height, width]`.
        of_pixel: number of the component of each True pixel of the mask, in the order of `np.flatnonzero`.
        area: in pixels.
        top, bottom, left, right: bounding box; bottom and right are exclusive.
    """

    mask: Mask
    of_pixel: Integers
    area: Integers
    top: Integers
    bottom: Integers
    left: Integers
    right: Integers

    def __len__(self) -> int:
        return len(self.area)

    @property
    def height(self) -> Integers:
        """Height of the bounding boxes."""
        return self.bottom - self.top

    @property
    def width(self) -> Integers:
        """Width of the bounding boxes."""
        return self.right - self.left

    def slices(self, number: int) -> tuple[slice, slice]:
        """Return the rows and columns of the bounding box of a component."""
        rows = slice(int(self.top[number]), int(self.bottom[number]))
        return rows, slice(int(self.left[number]), int(self.right[number]))

    def total(self, values: Floats) -> npt.NDArray[np.float64]:
        """Return the sum of the values of each component; `values` is `[height, width]`."""
        return np.bincount(self.of_pixel, values[self.mask], len(self)).astype(np.float64)

    @cached_property
    def border_contact(self) -> Floats:
        """The largest share of a side of the image that each component touches, 0 to 1."""
        share = np.zeros(len(self), np.float32)
        height, width = self.mask.shape
        is_inside = (self.top > 0) & (self.left > 0) & (self.bottom < height) & (self.right < width)
        if is_inside.all():
            return share
        numbers = np.full(self.mask.shape, -1)
        numbers[self.mask] = self.of_pixel
        for side in (numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]):
            counts = np.bincount(side[side >= 0], minlength=len(self))
            share = np.maximum(share, (counts / len(side)).astype(np.float32))
        return share

    def main(self, ink_of: npt.NDArray[np.float64], min_share: float) -> int | None:
        """Return the number of the component with the most ink, or None if there are only specks.

        Args:
            ink_of: ink of each component; 0 for those that are not candidates.
            min_share: of the pixels of the mask; a component with fewer is a speck.
        """
        if not ink_of.any():
            return None
        number = int(np.argmax(ink_of))
        return None if self.area[number] < max(1, min_share * self.mask.size) else number

    def largest(self, count: int, min_side: int) -> list[int]:
        """Return the numbers of up to `count` components by their smaller side, of at least `min_side` pixels."""
        side = np.minimum(self.height, self.width)
        numbers = np.argsort(-side, kind="stable")[:count]
        result: list[int] = numbers[side[numbers] >= min_side].tolist()
        return result

    def select(self, chosen: Mask) -> Mask:
        """Return the mask of the chosen components; `chosen` has one entry for each component."""
        selected = np.zeros_like(self.mask)
        selected[self.mask] = chosen[self.of_pixel]
        return selected


def label(mask: Mask) -> Components:
    """Return the 8-connected components of a mask `[height, width]`.

    The runs of each row are linked to those that they touch in the next row; the smallest number of a component then
    spreads along the links. The server does without scipy, so this is numpy only.
    """
    height, width = mask.shape
    stride = width + 2  # a column at each side that separates the runs of neighbouring rows
    padded = np.zeros((height, stride), bool)
    padded[:, 1:-1] = mask
    flat = padded.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts, ends = changes[::2], changes[1::2]
    # first, last: runs of the next row that touch each run (8-connected); `last` is exclusive.
    first = np.searchsorted(ends, starts + stride, "left")
    last = np.searchsorted(starts, ends + stride, "right")
    counts = np.maximum(last - first, 0)
    # upper, lower: all pairs of runs that touch.
    upper = np.repeat(np.arange(len(starts)), counts)
    lower = np.arange(len(upper)) + np.repeat(first - np.cumsum(counts) + counts, counts)
    numbers = _smallest_of_linked(len(starts), upper, lower)
    is_first = numbers == np.arange(len(numbers))
    of_run = (np.cumsum(is_first) - 1)[numbers]
    lengths, rows = ends - starts, starts // stride
    lefts, rights = starts - rows * stride - 1, ends - rows * stride - 1
    top = rows[is_first]  # runs are numbered from top to bottom
    bottom, left, right = top + 1, lefts[is_first], rights[is_first]
    np.maximum.at(bottom, of_run, rows + 1)
    np.minimum.at(left, of_run, lefts)
    np.maximum.at(right, of_run, rights)
    area = np.bincount(of_run, lengths, len(top)).astype(np.intp)
    return Components(mask, np.repeat(of_run, lengths), area, top, bottom, left, right)


def bounding_slices(mask: Mask, margin: int = 0) -> tuple[slice, slice]:
    """Return the rows and columns of the bounding box of all True pixels of a mask, of which there is at least one.

    Args:
        mask: `[height, width]`.
        margin: pixels to add on each side, as far as the mask has them.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return _wider(rows, margin), _wider(columns, margin)


def border(image: npt.NDArray[Pixel]) -> npt.NDArray[Pixel]:
    """Return the pixels along the four sides of an image `[height, width]`."""
    return np.concatenate((image[0], image[-1], image[1:-1, 0], image[1:-1, -1]))


def upper_median(values: npt.NDArray[Pixel]) -> Pixel:
    """Return the upper median of an array, several times as fast as np.median."""
    rank = values.size // 2
    median: Pixel = np.partition(values, rank, axis=None)[rank]
    return median


def _wider(lines: Integers, margin: int) -> slice:
    return slice(max(0, int(lines[0]) - margin), int(lines[-1]) + 1 + margin)


class Box(NamedTuple):
    """A box in the pixels of an image; x and y are those of its upper left corner."""

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def scaled(cls, rows: slice, columns: slice, x_scale: float, y_scale: float) -> Self:
        """Return the box of these rows and columns of an image that is reduced by these factors."""
        x, y = round(columns.start * x_scale), round(rows.start * y_scale)
        return cls(x, y, round(columns.stop * x_scale) - x, round(rows.stop * y_scale) - y)


def _smallest_of_linked(count: int, upper: Integers, lower: Integers) -> Integers:
    """Return for each of `count` runs the smallest number among those that links connect it with."""
    numbers = np.arange(count)
    while True:
        one, other = numbers[upper], numbers[lower]
        if (one == other).all():
            return numbers
        np.minimum.at(numbers, np.maximum(one, other), np.minimum(one, other))
        numbers = numbers[numbers]
