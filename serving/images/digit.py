"""Mask of a digit: the ink that is handwriting, without frames, edges of the sheet, ruled lines, boxes and specks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from serving.errors import NoInkError
from serving.images import components, morphology, printed_lines
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
# A ring or a box is empty in the middle, and its ink is within this share of its size from its bounding box. The digit
# inside is larger than this share of its height, and has the ring on this share of each of its four sides.
INSET = 0.25
INSIDE_SIZE = 0.2
SURROUNDED = 0.8
# So many of the largest components may be rings or boxes, with a smaller side of at least so many pixels.
MAX_RINGS = 32
MIN_RING = 8
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
    floor = max(MIN_INK_LEVEL, min(NOISE_DEVIATIONS * noise(ink), float(ink.max(initial=0)) / 2))
    remaining = ink.copy()
    framed: Mask | None = None  # the choice of the first round with the frames: a digit cropped closely
    min_ink = 0.0
    for _ in range(ROUNDS):
        strongest = float(remaining.max(initial=0))
        if strongest < floor:
            break
        is_strong = remaining > max(STRONG_SHARE * strongest, floor / 2)
        parts = printed_lines.without_printed_lines(is_strong)
        ink_of = parts.total(ink)
        frames = _frames(parts, ink_of)
        chosen = choose(parts, np.where(frames, 0, ink_of))
        if chosen is not None and ink[chosen].sum() >= min_ink:
            return chosen
        if framed is None:
            framed = choose(parts, ink_of)
            min_ink = MIN_DIGIT_SHARE * float(ink_of.sum())
        remaining[morphology.dilated(is_strong, 3)] = 0
    if framed is None:
        raise NoInkError("no ink found in the image")
    return framed


def without_faint_ink(ink: Floats) -> Mask:
    """Return the pixels whose ink is neither shadow nor smear beside the strongest one."""
    return ink > STRONG_SHARE * float(ink.max())


def noise(values: Floats) -> float:
    """Return the standard deviation of the noise, from the median absolute difference between neighbours."""
    if values.shape[1] < 2:
        return 0.0
    some = values[::NOISE_STEP]
    return float(components.upper_median(np.abs(some[:, 1:] - some[:, :-1]))) / 0.6745 / 2**0.5


def _frames(parts: Components, ink_of: npt.NDArray[np.float64]) -> Mask:
    """Return which components are frames or edges of the sheet, or a box around something else."""
    contact = parts.border_contact
    inner = float(np.where(contact > FRAME_CONTACT, 0, ink_of).max(initial=0))
    frames = (contact > WHOLE_SIDE) | ((contact > FRAME_CONTACT) & (inner > COMPARABLE_SHARE * ink_of))
    for number in parts.largest(MAX_RINGS, MIN_RING):
        frames[number] = frames[number] or _surrounds(parts, number)
    return frames


def _surrounds(parts: Components, number: int) -> bool:
    """Return whether a component is a ring or a box: hollow, with another one of some size inside."""
    rows, columns = parts.slices(number)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    is_inside = (
        (parts.top > rows.start)
        & (parts.bottom < rows.stop)
        & (parts.left > columns.start)
        & (parts.right < columns.stop)
        & (np.maximum(parts.height, parts.width) > INSIDE_SIZE * height)
    )
    if not is_inside.any():
        return False
    own = parts.select(np.arange(len(parts)) == number)
    inset_rows, inset_columns = round(INSET * height), round(INSET * width)
    inner = own[rows, columns][inset_rows : height - inset_rows, inset_columns : width - inset_columns]
    inside = np.flatnonzero(is_inside)[:MAX_RINGS]
    return not inner.any() and any(_is_surrounded(own, *parts.slices(int(each))) for each in inside)


def _is_surrounded(own: Mask, rows: slice, columns: slice) -> bool:
    """Return whether a mask has pixels on all four sides of a box."""
    sides = (
        own[: rows.start, columns].any(axis=0),
        own[rows.stop :, columns].any(axis=0),
        own[rows, : columns.start].any(axis=1),
        own[rows, columns.stop :].any(axis=1),
    )
    return all(side.mean() >= SURROUNDED for side in sides)


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
