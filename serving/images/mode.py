"""Preprocessing mode of a model: how an image of any size becomes its input."""

from typing import Literal

# `digit` crops an image to its ink and centres it, as MNIST's images are; `plain` keeps its frame.
Mode = Literal["digit", "plain"]
