"""Preprocessing mode of a model: whether images are cropped to the digit, or keep their frame."""

from typing import Literal

# `digit` crops an image to its ink and normalizes it to MNIST's format; `plain` keeps its frame.
Mode = Literal["digit", "plain"]
