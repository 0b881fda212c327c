"""Generation of images: from a latent vector and a class to a new image of that class."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnistflow.arrays import Array, Outputs
from mnistflow.splits import Split
from mnistflow.tasks import identity
from mnistflow.tasks.generation.features import features
from mnistflow.tasks.generation.scores import classify, fold_distances, frechet_distance, nearest_distances
from mnistflow.tasks.image_data import ImageData
from mnistflow.tasks.plots import generated_images
from mnistflow.tasks.signed_rank import signed_rank_test
from mnistflow.tasks.task import Measurement, PairedTest, Parity, Signature, TensorType

if TYPE_CHECKING:
    from mnistflow.splits import Dataset

LATENT = 64  # the same for all generators, so that one can replace another without a change of clients
SEED = 0  # of the latent vectors that every generator is judged on
COMPARED = 1000  # images whose nearest training image is sought
RARE = 0.01  # share of the real images that count as copies of a training image


class Generation(ImageData):
    """Latent vectors float32 `[batch, 64]` and classes int64 `[batch]` to images uint8 `[batch, height, width]`.

    A generator is evaluated on as many images of each class as the test split has, from latent vectors that are always
    the same. Its images are compared with those of the test split in the features of a fixed classifier. The classes of
    generated images are found by linear discriminant analysis of these features of the test split, so that agreement
    is defined for the classes of any data set.
    """

    identity = identity.GENERATION
    generates = True
    rounding = 1.0

    def signature(self, input_shape: tuple[int, ...], classes: tuple[str, ...]) -> Signature:
        class_input = (TensorType("class", "int64", ()),)
        return Signature("latent", "float32", (LATENT,), "images", input_shape, "uint8", class_input)

    def evaluation_split(self, split: Split) -> Split:
        """Return latent vectors and the classes of a split, structured `[n]`, with fields `latent` and `class`.

        Targets are the real images and their classes, structured `[n]`, with fields `image` and `class`.
        """
        targets = np.empty(len(split), [("image", np.uint8, split.inputs.shape[1:]), ("class", np.int64)])
        targets["image"], targets["class"] = split.inputs, split.targets
        return Split(generator_inputs(split.targets, SEED), targets)

    def compare_outputs(self, expected: Outputs, actual: Outputs, tie: float) -> Parity:
        """Compare levels of grey. Images that differ by more than rounding explains disagree."""
        gaps = np.abs(expected.astype(np.int64) - actual).reshape(len(expected), -1).max(axis=1)
        return Parity(float(gaps.max()), int((gaps > self.rounding).sum()), len(expected))

    def measure(self, outputs: Outputs, targets: Array, classes: tuple[str, ...]) -> Measurement:
        """Compute the Fréchet distance, and the share of images whose class is the requested one.

        `real_agreement` is that share of the real images, which are the reference.
        """
        generated, real, labels = features(outputs), features(targets["image"]), targets["class"]
        is_right = classify(generated, real, labels, len(classes)) == labels
        distance = frechet_distance(generated, real)
        metrics = {
            "frechet_distance": distance,
            "loss": distance,
            "agreement": float(is_right.mean()),
            "real_agreement": float((classify(real, real, labels, len(classes)) == labels).mean()),
        }
        rows_of = {name: labels == label for label, name in enumerate(classes) if (labels == label).any()}
        by_class = {name: float(is_right[rows].mean()) for name, rows in rows_of.items()}
        return Measurement(metrics, by_class, {name: int(rows.sum()) for name, rows in rows_of.items()})

    def measure_novelty(self, outputs: Outputs, data: Dataset) -> Mapping[str, float]:
        """Compare with training images, at the same number of images.

        `frechet_floor` is the distance of real training images to the test images. `nearest_ratio` is the median
        distance of an image to the nearest training image, as a multiple of that of a test image: far below 1, training
        images are repeated. `copies` is the share of images that are as near to one as only 1 % of the test images.
        """
        order = np.random.default_rng(SEED).permutation(len(data.train))[: len(data.test)]
        floor = frechet_distance(features(data.train.inputs[order]), features(data.test.inputs))
        chosen = np.random.default_rng(SEED).permutation(len(outputs))[:COMPARED]
        near, usual = (nearest_distances(one[chosen], data.train.inputs) for one in (outputs, data.test.inputs))
        return {
            "frechet_floor": floor,
            "nearest_ratio": float(np.median(near) / max(np.median(usual), 1e-9)),
            "copies": float((near < np.quantile(usual, RARE)).mean()),
        }

    def score(self, outputs: Outputs, targets: Array) -> float:
        return frechet_distance(features(outputs), features(targets["image"]))

    def paired_test(self, candidate: Outputs, champion: Outputs, targets: Array) -> PairedTest:
        """Wilcoxon signed-rank test on the Fréchet distances of both in the same folds of images."""
        real = features(targets["image"])
        own, theirs = (fold_distances(features(images), real) for images in (candidate, champion))
        return signed_rank_test("Wilcoxon signed-rank of folds", own, theirs)

    def report(
        self, folder: Path, inputs: Array, outputs: Outputs, targets: Array, classes: tuple[str, ...], mistakes: int
    ) -> None:
        """Write table `agreement.csv`, and picture `generated.png`: generated images of each class beside real ones."""
        measured = self.measure(outputs, targets, classes)
        _write_agreement(folder / "tables/agreement.csv", measured)
        generated_images.side_by_side(
            folder / "pictures/generated.png", outputs, targets["image"], inputs["class"], classes
        )


def generator_inputs(labels: Array, seed: int) -> Array:
    """Return inputs of a generator for classes `[n]`, structured `[n]`, with latent vectors drawn at random."""
    inputs = np.empty(len(labels), [("latent", np.float32, (LATENT,)), ("class", np.int64)])
    inputs["latent"] = np.random.default_rng(seed).standard_normal((len(labels), LATENT), np.float32)
    inputs["class"] = labels
    return inputs


def _write_agreement(path: Path, measured: Measurement) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["class", "images", "agreement"])
        rows.writerows((name, measured.support[name], share) for name, share in measured.by_class.items())
