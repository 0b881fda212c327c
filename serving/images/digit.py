"""Mask of a digit: the ink that is handwriting, without frames, edges of the sheet, ruled lines, boxes and specks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from serving.errors import NoInkError
from serving.images import components
from serving.images.components import Components, Floats, Mask

# Selects components, with the ink of each, which is 0 for those that are not candidates; None if there are only specks.
Choice = Callable[[Components, npt.NDArray[np.float64]], Mask | None]

# Fainter ink than this is the grain of paper or JPEG.
MIN_INK_LEVEL = 0.06
NOISE_DEVIATIONS = 5.0
NOISE_STEP = 4  # every such row is enough to estimate the noise
# Ink fainter than this share of the strongest is shadow, smear, or a printed line.
STRONG_SHARE = 0.4
# A component that touches more of a side of the image than this is a frame, or the edge of the sheet or scanner; if it
# does not touch the whole side, only beside something else that has this share of its ink.
FRAME_CONTACT = 0.4
WHOLE_SIDE = 0.92
COMPARABLE_SHARE = 0.1
# A digit within a frame has at least this share of the frame's ink; otherwise the frame is a digit cropped closely.
MIN_DIGIT_SHARE = 0.02
# Printed lines are thinner than this share of the width of the strokes, unless there are several.
LINE_THICKNESS = 0.6
SEVERAL_LINES = 3
# A printed line fills this share of each section of its row.
LINE_SECTIONS = 12
LINE_FILL = 0.6
# Part of the image's sides that the box of a form spans at least.
BOX_SPAN = 0.5
# A stroke apart from the largest one belongs to the digit if it has this share of its ink, is not further away than
# this share of its size, and is no longer than this multiple of it, as printed lines are.
PART_SHARE = 0.06
PART_DISTANCE = 0.25
MAX_PART_LENGTH = 1.25
# A component that is wider than this multiple of its height is a printed line, if there is another one.
FLAT = 3
SPECK_SHARE = 0.0003
ROUNDS = 3


def digit_mask(ink: Floats, choose: Choice) -> Mask:
    """Return the pixels of the chosen components.

    Printed lines and frames are left out. If they are all of the strong ink, that is removed, and fainter ink is tried.

    Args:
        ink: of each pixel, `[height, width]`, 0 to 1.
        choose: selects components.

    Raises:
        NoInkError: there is no ink.
    """
    floor = max(MIN_INK_LEVEL, min(NOISE_DEVIATIONS * _noise(ink), float(ink.max(initial=0)) / 2))
    remaining = ink.copy()
    framed: Mask | None = None  # the choice of the first round with the frames: a digit cropped closely
    min_ink = 0.0
    for _ in range(ROUNDS):
        strongest = float(remaining.max(initial=0))
        if strongest < floor:
            break
        is_strong = remaining > max(STRONG_SHARE * strongest, floor / 2)
        parts = components.label(without_lines(is_strong))
        ink_of = parts.total(ink)
        frames = _frames(parts, ink_of)
        chosen = choose(parts, np.where(frames, 0, ink_of))
        if chosen is not None and ink[chosen].sum() >= min_ink:
            return chosen
        if framed is None:
            framed = choose(parts, ink_of)
            min_ink = MIN_DIGIT_SHARE * float(ink_of.sum())
        remaining[dilated(is_strong, 3)] = 0
    if framed is None:
        raise NoInkError("no ink found in the image")
    return framed


def without_faint_ink(ink: Floats) -> Mask:
    """Return the pixels whose ink is neither shadow nor smear beside the strongest one."""
    return ink > STRONG_SHARE * float(ink.max())


def _noise(ink: Floats) -> float:
    """Return the standard deviation of the noise, from the median absolute difference between neighbours."""
    if ink.shape[1] < 2:
        return 0.0
    some = ink[::NOISE_STEP]
    return float(components.upper_median(np.abs(some[:, 1:] - some[:, :-1]))) / 0.6745 / 2**0.5


def dilated(mask: Mask, radius: int) -> Mask:
    """Return a mask dilated by a square with this distance from its centre to its sides."""
    for axis in (0, 1):
        lines = mask.swapaxes(0, axis)
        result = lines.copy()
        for distance in range(1, radius + 1):
            result[distance:] |= lines[:-distance]
            result[:-distance] |= lines[distance:]
        mask = result.swapaxes(0, axis)
    return mask


def without_lines(mask: Mask) -> Mask:
    """Return a mask without the printed lines of ruled or squared paper, but with the strokes that cross them."""
    rows, columns = _lines(mask), _lines(mask.T)
    if not rows.any() and not columns.any():
        return mask
    width = stroke_width(mask & ~rows[:, None] & ~columns[None])
    if not width:
        return mask
    rows, columns = _thin(rows, width), _thin(columns, width)
    rest = mask & ~rows[:, None] & ~columns[None]
    crossing = _crossing(rest, rows) | _crossing(rest.T, columns).T
    return rest | (mask & crossing)


def _thin(lines: Mask, width: float) -> Mask:
    """Return the rows of lines that are thin beside strokes of this width; all of them if there are several lines."""
    bands = components.label(lines[None])
    if len(bands) >= SEVERAL_LINES:
        return lines
    return bands.select(bands.area <= max(1, LINE_THICKNESS * width)).ravel()


def _crossing(rest: Mask, lines: Mask) -> Mask:
    """Return the parts of lines, which `rest` lacks, where a stroke arrives from above or below."""
    crossing = np.zeros_like(rest)
    bands = components.label(lines[None])
    for first, last in zip(bands.left, bands.right, strict=True):
        around = np.concatenate((rest[max(first - 2, 0) : first], rest[last : last + 2]))
        crossing[first:last] = dilated(around.max(axis=0, keepdims=True), 1)
    return crossing


def _lines(mask: Mask) -> Mask:
    """Return the rows that are filled, apart from gaps, from one side of the image to the other."""
    width = mask.shape[1]
    long = np.count_nonzero(mask, axis=1) >= LINE_FILL * width
    if width < 2 * LINE_SECTIONS or not long.any():
        return np.zeros(len(mask), bool)
    bounds = np.arange(LINE_SECTIONS) * width // LINE_SECTIONS
    filled = np.add.reduceat(mask, bounds, axis=1, dtype=np.intp)
    enough: npt.NDArray[np.bool_] = (filled >= LINE_FILL * np.diff(bounds, append=width)).all(axis=1)
    return enough


def eroded(mask: Mask) -> Mask:
    """Return the mask eroded by a cross of 3x3."""
    result = np.zeros_like(mask)
    interior = result[1:-1, 1:-1]
    np.logical_and(mask[:-2, 1:-1], mask[2:, 1:-1], out=interior)
    for neighbours in (mask[1:-1, :-2], mask[1:-1, 2:], mask[1:-1, 1:-1]):
        interior &= neighbours
    return result


def stroke_width(mask: Mask) -> float:
    """Return the mean width of the strokes in pixels: twice their area for each pixel of their outline."""
    area = np.count_nonzero(mask)
    edge = area - np.count_nonzero(eroded(mask))
    return 2 * area / edge if edge else 0.0


def _frames(parts: Components, ink_of: npt.NDArray[np.float64]) -> Mask:
    """Return which components are frames or edges of the sheet, or a box around something else."""
    contact = parts.border_contact
    inner = float(np.where(contact > FRAME_CONTACT, 0, ink_of).max(initial=0))
    frames = (contact > WHOLE_SIDE) | ((contact > FRAME_CONTACT) & (inner > COMPARABLE_SHARE * ink_of))
    height, width = parts.mask.shape
    large = (parts.height > BOX_SPAN * height) & (parts.width > BOX_SPAN * width)
    for number in np.flatnonzero(large & ~frames):
        frames[number] = _is_box(parts, int(number))
    return frames


def _is_box(parts: Components, number: int) -> bool:
    """Return whether a component is hollow and has another one of some size inside."""
    top, bottom, left, right = (int(side[number]) for side in (parts.top, parts.bottom, parts.left, parts.right))
    inset_rows, inset_columns = (bottom - top) // 6, (right - left) // 6
    own = parts.select(np.arange(len(parts)) == number)
    if own[top + inset_rows : bottom - inset_rows, left + inset_columns : right - inset_columns].any():
        return False
    is_enclosed = (parts.top > top) & (parts.bottom < bottom) & (parts.left > left) & (parts.right < right)
    return bool((is_enclosed & (np.maximum(parts.height, parts.width) > (bottom - top) / 5)).any())


def one_digit(parts: Components, ink_of: npt.NDArray[np.float64]) -> Mask | None:
    """Return the mask of the largest digit, which is a component and those near it, or None if there are only specks.

    Args:
        ink_of: ink of each component; 0 for those that are not candidates.
    """
    inner = ink_of * (1 - parts.border_contact)  # what lies along the border is rather a part of something else
    main = parts.main(np.where(parts.width > FLAT * parts.height, 0, inner), SPECK_SHARE)
    if main is None:
        main = parts.main(ink_of, SPECK_SHARE)
    if main is None:
        return None
    touches = parts.border_contact > 0
    if not touches[main]:
        ink_of = np.where(touches, 0, ink_of)
    size = np.maximum(parts.height, parts.width)
    reach = PART_DISTANCE * size[main]
    near = (
        (size <= MAX_PART_LENGTH * size[main])
        & (parts.top < parts.bottom[main] + reach)
        & (parts.bottom > parts.top[main] - reach)
        & (parts.left < parts.right[main] + reach)
        & (parts.right > parts.left[main] - reach)
    )
    return parts.select(near & (ink_of >= PART_SHARE * ink_of[main]))
