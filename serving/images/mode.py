"""Preprocessing mode of a model: how an image of any size becomes its input."""

from typing import Literal

# `digit` crops an image to its ink and centres it, as MNIST's images are; `plain` keeps its frame.
Mode = Literal["digit", "plain"]


def parse_mode(text: str) -> Mode:
    """Return the mode that a manifest names; `plain` for any that this server does not know."""
    return "digit" if text == "digit" else "plain"
