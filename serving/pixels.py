"""Reads pixels from JSON: most of what there is to read in a request.

`_pixels.c` does it in a quarter of the time. It is compiled at installation, where there are a compiler and Python's
headers.
"""

import orjson

__all__ = ["IS_COMPILED", "pixels_from_json", "pixels_in_python"]


def pixels_in_python(text: bytes, start: int, stop: int, size: int) -> bytearray | None:
    """Return the numbers of the JSON list `text[start:stop]`; None if they are not `size` whole ones from 0 to 255.

    Also None for what JSON allows, but hardly anybody writes, such as 1e2.
    """
    part = text[start:stop]
    # Truth values, which would pass for numbers, are the others that are written with letters.
    if b"e" in part:
        return None
    try:
        values = orjson.loads(part)
        # Three times as fast as bytes. Of a mere number it would be as many zeros.
        return bytearray(values) if isinstance(values, list) and len(values) == size else None
    except (TypeError, ValueError, OverflowError):
        return None


try:
    from serving._pixels import pixels_from_json
except ImportError:
    pixels_from_json = pixels_in_python

IS_COMPILED = pixels_from_json is not pixels_in_python
