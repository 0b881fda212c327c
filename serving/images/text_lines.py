"""Lines of handwriting: which connected components are digits or parts of digits, and which of them share a line."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from serving.errors import InvalidRequestError, NoInkError
from serving.images import components, digit, morphology
from serving.images.components import Components, Floats, Integers, Mask

# A component is a digit, or several that touch, if it has this share of the height of the one with the most ink, and
# this share of its ink per pixel.
TALL = 0.4
AS_DARK = 0.5
# A smaller component is a part of a digit if it has this share of its ink, and is not further away than this share of
# its height.
PART_SHARE = 0.05
PART_DISTANCE = 0.2
# A component that touches this share of a side of the image is not a digit, unless it is like the others: numbers may
# be cropped closely.
AT_THE_SIDE = 0.3
# Components are alike if their strokes are as wide and they are as high, both up to these factors.
SIMILAR_STROKES = 2.0
SIMILAR_HEIGHT = 1.67
# An underline is wider than these multiples of its height and of that of digits, and its length is no more than this
# multiple of the diagonal of its box.
FLAT = 3
LONGER_THAN_DIGITS = 1.25
STRAIGHT = 1.3
# Small components are checked up to this number; more of them are a texture.
MAX_SMALL = 256
SPECK_SHARE = 0.0001
# Two components share a line if this share of the height of the lower one is beside the other, or if one is above the
# other and both are together no higher than this multiple of the highest one, as parts of a digit.
BESIDE = 0.4
TOGETHER = 1.25
# Two components of an image that was read as one digit are digits of their own if the smaller one has these shares of
# the height and the ink of the other, and if no more than this share of its width is above or below the other.
ALIKE_HEIGHT = 0.6
ALIKE_INK = 0.3
OVERLAP = 0.25


def all_digits(parts: Components, ink_of: npt.NDArray[np.float64]) -> Mask | None:
    """Return the mask of all components that are digits or parts of digits, or None if there are only specks.

    Args:
        parts: of an image.
        ink_of: ink of each component; 0 for those that are not candidates.
    """
    lengths = morphology.stroke_lengths(parts)
    flat = (parts.width > FLAT * parts.height) & (lengths <= STRAIGHT * np.hypot(parts.width, parts.height))
    main = parts.main(np.where(flat, 0, ink_of), SPECK_SHARE)
    if main is None:
        main = parts.main(ink_of, SPECK_SHARE)
    if main is None:
        return None
    density = ink_of / np.maximum(parts.area, 1)
    is_underline = flat & (parts.width > LONGER_THAN_DIGITS * parts.height[main])
    is_marginal = (parts.border_contact >= AT_THE_SIDE) | _is_in_a_corner(parts)
    eligible = (density >= AS_DARK * density[main]) & ~is_underline & (~is_marginal | _are_alike(parts, main))
    tall = eligible & (parts.height >= TALL * parts.height[main])
    tall[main] = True
    small = np.flatnonzero(eligible & ~tall & (ink_of >= PART_SHARE * ink_of[tall].min()))[:MAX_SMALL]
    near = [number for number in small if _is_part(parts, ink_of, int(number), np.flatnonzero(tall))]
    chosen = tall.copy()
    chosen[near] = True
    return parts.select(chosen)


def shows_several(ink: Floats, found: Mask) -> bool:
    """Return whether an image shows two digits or more that do not touch.

    Args:
        ink: of each pixel, `[height, width]`, 0 to 1.
        found: the digit that was read, `[height, width]`.
    """
    others = digit.without_faint_ink(ink) & ~found
    strokes = found[components.bounding_slices(found)]
    if ink[others].sum() < ALIKE_INK * ink[found].sum() and len(components.label(strokes)) == 1:
        return False  # as on most images, and in a fraction of the time
    try:
        parts = components.label(digit.digit_mask(ink, all_digits))
    except NoInkError:
        return False
    ink_of = parts.total(ink)
    main = int(np.argmax(ink_of))
    alike = (parts.height >= ALIKE_HEIGHT * parts.height.max()) & (ink_of >= ALIKE_INK * ink_of[main])
    common = np.minimum(parts.right, parts.right[main]) - np.maximum(parts.left, parts.left[main])
    apart = common <= OVERLAP * np.minimum(parts.width, parts.width[main])
    below = (parts.top >= parts.bottom[main]) | (parts.bottom <= parts.top[main])
    alike[main] = False
    return bool((alike & (apart | below)).any())


def _is_in_a_corner(parts: Components) -> Mask:
    """Return which components touch two neighbouring sides of the image, as what is left of a rounded frame does."""
    height, width = parts.mask.shape
    is_beside = (parts.left == 0) | (parts.right == width)
    is_at_an_end = (parts.top == 0) | (parts.bottom == height)
    in_a_corner: Mask = is_beside & is_at_an_end
    return in_a_corner


def _are_alike(parts: Components, main: int) -> Mask:
    """Return which components are about as high as one of them, and of strokes about as wide."""
    widths = parts.area / np.maximum(morphology.stroke_lengths(parts), 1)
    is_as_wide = _within(widths / widths[main], SIMILAR_STROKES)
    is_as_high = _within(parts.height / parts.height[main], SIMILAR_HEIGHT)
    alike: Mask = is_as_wide & is_as_high
    return alike


def _within(ratios: npt.NDArray[np.floating], factor: float) -> Mask:
    return (ratios <= factor) & (ratios >= 1 / factor)


def split(mask: Mask, limit: int) -> Iterator[Mask]:
    """Yield the lines of a mask from top to bottom.

    Args:
        mask: of digits and parts of digits.
        limit: largest number of components that may be digits.

    Raises:
        InvalidRequestError: there are more.
    """
    parts = components.label(mask)
    tall = np.flatnonzero(parts.height >= TALL * parts.height.max())
    if len(tall) > limit:
        raise InvalidRequestError(f"too many strokes: an image may show at most {limit} digits")
    lines: list[list[int]] = []
    for number in tall[np.argsort(parts.left[tall], kind="stable")]:
        line = next((line for line in lines if _share_a_line(parts, line[-1], int(number))), None)
        if line is None:
            lines.append(line := [])
        line.append(int(number))
    lines.sort(key=lambda line: float(np.mean(parts.top[line] + parts.bottom[line])))
    line_of = np.zeros(len(parts), np.intp)
    for index, line in enumerate(lines):
        line_of[line] = index
    for number in np.setdiff1d(np.arange(len(parts)), tall):
        line_of[number] = line_of[_nearest(parts, int(number), tall)[0]]
    for index in range(len(lines)):
        yield parts.select(line_of == index)


def _is_part(parts: Components, ink_of: npt.NDArray[np.float64], number: int, tall: Integers) -> bool:
    """Return whether a small component is a part of the digit that is nearest to it."""
    nearest, distance = _nearest(parts, number, tall)
    return bool(distance <= PART_DISTANCE * parts.height[nearest] and ink_of[number] >= PART_SHARE * ink_of[nearest])


def _share_a_line(parts: Components, one: int, other: int) -> bool:
    """Return whether two components are on the same line."""
    common = min(parts.bottom[one], parts.bottom[other]) - max(parts.top[one], parts.top[other])
    together = max(parts.bottom[one], parts.bottom[other]) - min(parts.top[one], parts.top[other])
    is_above = min(parts.right[one], parts.right[other]) > max(parts.left[one], parts.left[other])
    is_beside = common >= BESIDE * min(parts.height[one], parts.height[other])
    return bool(is_beside or (is_above and together <= TOGETHER * parts.height.max()))


def _nearest(parts: Components, number: int, others: Integers) -> tuple[int, float]:
    """Return which of other components has the nearest box, and its distance in pixels."""
    across = np.maximum(parts.left[others] - parts.right[number], parts.left[number] - parts.right[others])
    down = np.maximum(parts.top[others] - parts.bottom[number], parts.top[number] - parts.bottom[others])
    distance = np.hypot(np.maximum(across, 0), np.maximum(down, 0))
    nearest = int(np.argmin(distance))
    return int(others[nearest]), float(distance[nearest])
