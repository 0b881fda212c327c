"""Reference of a version: statistics of validation images, and the model's predictions on them.

It is an artifact of the version's run, so every machine with access to MLflow can monitor the version. Validation
examples, not the test split: the test split answers one question only, whether a candidate is better.

If feedback was trained on, the reference has several parts: the official examples, and windows of 1,000 feedback
images in the order of time, because each kind of image arrives for a limited time. Input statistics do not depend on
the model, so they cover all feedback that was trained on; predictions are taken only from feedback that was held out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from mnistflow import splits
from mnistflow.arrays import Array, Outputs
from mnistflow.data.entry import IMAGE_CLASSIFICATION
from mnistflow.errors import RegistryError
from mnistflow.monitoring import statistics
from mnistflow.paths import Paths
from mnistflow.registry.versions import Version
from mnistflow.runtime import onnx_session
from mnistflow.splits import Dataset
from mnistflow.tracking import artifacts, runs

ARTIFACT = "monitor/reference.npz"
MAX_EXAMPLES = 10_000
ARRAYS = ("inputs", "probabilities", "right", "images", "classes")  # fields of the file
COUNTS = ("learned", "held_out")  # fields that files of earlier releases do not have
IMAGES = 40  # kept to be shown
DIGITS = 4  # decimal places of probabilities that are compared; batching changes the later ones
MIN_PART = 200  # examples of feedback; the sampling error of fewer would hide drift
WINDOW = 1000  # examples of feedback, whose images are a part; each shares half of them with the next one


@dataclass(frozen=True)
class Reference:
    """What traffic is compared with.

    Attributes:
        inputs: statistics of the images, float32 `[i, k]`; see `statistics.NAMES`.
        probabilities: the model's predictions for validation examples, float32 `[m, classes]`.
        right: whether each prediction was right, bool `[m]`.
        images: a few of the images, uint8 `[<= 40, height, width]`.
        classes: names of the classes, `[classes]`.
        learned: how many of the last rows of `inputs` are of feedback that was trained on, in the order of time.
        held_out: how many of the last rows of `probabilities` and `right` are of feedback that was not.
    """

    inputs: Array
    probabilities: Outputs
    right: Array
    images: Array
    classes: Array
    learned: int = 0
    held_out: int = 0

    @cached_property
    def input_parts(self) -> tuple[Array, ...]:
        """The statistics of the official images and of windows of the feedback, each column in ascending order."""
        return tuple(np.sort(part, axis=0) for part in _parts(self.inputs, self.learned, WINDOW))

    @property
    def probability_parts(self) -> tuple[Outputs, ...]:
        """The predictions for official examples, and for feedback that the model was not trained on."""
        return tuple(_parts(self.probabilities, self.held_out, self.held_out))

    @property
    def right_parts(self) -> tuple[Array, ...]:
        """Whether the predictions of each part of `probability_parts` were right."""
        return tuple(_parts(self.right, self.held_out, self.held_out))

    @cached_property
    def class_counts(self) -> Array:
        """Number of examples of each part that were predicted as each class, `[parts, classes]`."""
        return np.stack([counts(part) for part in self.probability_parts])


def _parts(rows: Array, feedback: int, window: int) -> Iterator[Array]:
    """Return the official rows, then windows of the rows of feedback, the newest first, unless there are too few."""
    official = len(rows) - feedback
    yield rows[:official]
    size = min(window, feedback)
    if size >= MIN_PART:
        for end in range(len(rows), official + size - 1, -(size // 2)):
            yield rows[end - size : end]


def rounded(probabilities: Outputs) -> Outputs:
    """Return probabilities as they are compared."""
    return np.asarray(probabilities.round(DIGITS))


def counts(probabilities: Outputs) -> Array:
    """Return how often each class has the largest probability."""
    return np.bincount(probabilities.argmax(axis=1), minlength=probabilities.shape[1])


def build(model: Path, data: Dataset) -> Reference:
    """Return the reference of a model.

    Args:
        model: the ONNX file.
        data: what it was trained on.
    """
    # Official examples are shuffled, so the first ones are a sample; feedback is in the order of time.
    official = data.official_validation[:MAX_EXAMPLES]
    held_out = data.held_out_feedback[-MAX_EXAMPLES:]
    learned = data.feedback_train.inputs[-MAX_EXAMPLES:]
    evaluated = official.concatenate(held_out)
    probabilities = onnx_session.predict(onnx_session.open_session(model), evaluated.inputs)
    return Reference(
        inputs=statistics.of_images(np.concatenate([official.inputs, learned])),
        probabilities=probabilities,
        right=probabilities.argmax(axis=1) == evaluated.targets,
        images=official.inputs[:IMAGES],
        classes=np.array(data.classes),
        learned=len(learned),
        held_out=len(held_out),
    )


def log(workspace: Paths, run: runs.Run) -> None:
    """Store the reference of the exported model of a workspace with its run; only classifiers of images have one."""
    data = splits.load(workspace.prepared)
    if data.task != IMAGE_CLASSIFICATION or not len(data.validation):
        return
    reference = build(workspace.exported / "model.onnx", data)
    folder, name = ARTIFACT.split("/")
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / name
        np.savez_compressed(path, **asdict(reference))
        run.log_file(path, folder)


def load(version: Version) -> Reference:
    """Return the reference of a version.

    Raises:
        RegistryError: the artifact store does not have it.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = artifacts.of_run(version.run_id, ARTIFACT, Path(folder))
            with np.load(path, allow_pickle=False) as arrays:
                learned, held_out = (int(arrays[name]) if name in arrays else 0 for name in COUNTS)
                known = Reference(*(arrays[name] for name in ARRAYS))
                return replace(known, learned=learned, held_out=held_out)
    except (RegistryError, OSError, KeyError, ValueError) as error:
        raise RegistryError(
            f"{version.title} has no reference to compare traffic with: {error}",
            "Versions of earlier releases have none: `mnistflow retrain -S train.seed=1` registers one that has.",
        ) from error
