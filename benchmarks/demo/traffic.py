"""Traffic of a simulated week: digits that no model has been trained on, drawn, turned, or lit in another way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import grey_dilation, rotate

from mnistflow import splits
from mnistflow.arrays import Array
from mnistflow.data import catalog
from mnistflow.paths import Paths
from mnistflow.splits import Split
from mnistflow.tasks import corruptions

WHITE = 255
CLASSES = 10
PEN = 3  # pixels of a broad pen's tip
DEGREES = 30
BRIGHTNESS = 0.5  # of stripes, as a share of white
FAVOURED = (0, 1, 7)  # classes of the other mix
FAVOUR = 4.0  # how many times as often as the others

Change = Callable[[Array, np.random.Generator], Array]


def unchanged(images: Array, _: np.random.Generator) -> Array:
    """Return the images as they are."""
    return images


def broad_pen(images: Array, _: np.random.Generator) -> Array:
    """Return the images with wider strokes."""
    return np.asarray(grey_dilation(images, (1, PEN, PEN)))


def turned(images: Array, _: np.random.Generator) -> Array:
    """Return the images turned to one side."""
    return np.asarray(rotate(images, DEGREES, axes=(1, 2), reshape=False, order=1))


def striped(images: Array, generator: np.random.Generator) -> Array:
    """Return the images on striped paper."""
    return corruptions.stripes(images, BRIGHTNESS, generator)


def inverted(images: Array, _: np.random.Generator) -> Array:
    """Return the images in dark ink on white."""
    return np.asarray(WHITE - images)


@dataclass(frozen=True)
class Kind:
    """What arrives in a week.

    Attributes:
        name: as it is shown.
        changes: an equal share of the images goes through each.
        favours: whether some classes are more frequent than in MNIST.
    """

    name: str
    changes: tuple[Change, ...]
    favours: bool = False


MNIST = Kind("MNIST", (unchanged,))
BROAD_PEN = Kind("broad pen", (broad_pen,))
TURNED = Kind("turned", (turned,))
STRIPED = Kind("striped paper", (striped,))
INVERTED = Kind("inverted", (inverted,))
OTHER_MIX = Kind("all, other mix", (unchanged, broad_pen, turned, striped, inverted), favours=True)


class Digits:
    """Digits of the official training split that the prepared splits leave out; each is drawn once.

    Args:
        paths: of a checkout whose data is prepared.
        seed: of all that is random.
    """

    def __init__(self, paths: Paths, seed: int) -> None:
        data = splits.load(paths.prepared)
        official = catalog.described(data.name, data.classes).read(paths.raw).train
        used = {image.tobytes() for split in (data.train, data.validation) for image in split.inputs}
        unseen = [row for row, image in enumerate(official.inputs) if image.tobytes() not in used]
        self.generator = np.random.default_rng(seed)
        self._rest = official.take(self.generator.permutation(unseen))

    def draw(self, kind: Kind, count: int) -> Split:
        """Return the images of a week, in random order, and their true classes."""
        chosen = self._chosen(kind, count)
        drawn = self._rest.take(chosen)
        self._rest = self._rest.take(np.setdiff1d(np.arange(len(self._rest)), chosen))
        parts = np.array_split(drawn.inputs, len(kind.changes))
        images = [change(part, self.generator) for change, part in zip(kind.changes, parts, strict=True)]
        return Split(np.concatenate(images), drawn.targets).take(self.generator.permutation(count))

    def _chosen(self, kind: Kind, count: int) -> NDArray[np.intp]:
        weights = np.where(np.isin(self._rest.targets, FAVOURED) & kind.favours, FAVOUR, 1.0)
        return self.generator.choice(len(self._rest), count, replace=False, p=weights / weights.sum())


def wrong(labels: Array, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return a class for each label that is not the true one."""
    return (labels + generator.integers(1, CLASSES, len(labels))) % CLASSES
