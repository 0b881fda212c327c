"""Reference of a version: what validation examples look like, and what the model answers on them.

It is an artifact of the version's run, so every machine with access to MLflow can monitor the version. Validation
examples, not the test split: the test split answers one question only, whether a candidate is better.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, fields
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
from mnistflow.splits import Split
from mnistflow.tracking import runs

ARTIFACT = "monitor/reference.npz"
MOST_EXAMPLES = 10_000
IMAGES = 40  # kept to be shown
DIGITS = 4  # of probabilities: the same image answered in another batch differs in later ones


@dataclass(frozen=True)
class Reference:
    """What traffic is compared with.

    Attributes:
        inputs: statistics of the images, float32 `[m, k]`; see `statistics.NAMES`.
        probabilities: the model's answers, float32 `[m, classes]`.
        right: whether each answer was right, bool `[m]`.
        images: a few of the images, uint8 `[<= 40, height, width]`.
        classes: names of the classes, `[classes]`.
    """

    inputs: Array
    probabilities: Outputs
    right: Array
    images: Array
    classes: Array

    @cached_property
    def sorted_inputs(self) -> Array:
        """The statistics, each column in ascending order."""
        return np.sort(self.inputs, axis=0)

    @cached_property
    def sorted_probabilities(self) -> Array:
        """The probabilities, rounded, each column in ascending order."""
        return np.sort(rounded(self.probabilities), axis=0)

    @cached_property
    def class_counts(self) -> Array:
        """Number of examples that were predicted as each class."""
        return counts(self.probabilities)


def rounded(probabilities: Outputs) -> Outputs:
    """Return probabilities as they are compared."""
    return np.asarray(probabilities.round(DIGITS))


def counts(probabilities: Outputs) -> Array:
    """Return how often each class has the largest probability."""
    return np.bincount(probabilities.argmax(axis=1), minlength=probabilities.shape[1])


def build(model: Path, validation: Split, classes: tuple[str, ...]) -> Reference:
    """Return the reference of a model.

    Args:
        model: the ONNX file.
        validation: examples that were not trained on.
        classes: their names.
    """
    # Splits are shuffled, so the first examples are a sample.
    inputs, targets = validation.inputs[:MOST_EXAMPLES], validation.targets[:MOST_EXAMPLES]
    probabilities = onnx_session.predict(onnx_session.open_session(model), inputs)
    right = probabilities.argmax(axis=1) == targets
    return Reference(statistics.of_images(inputs), probabilities, right, inputs[:IMAGES], np.array(classes))


def log(workspace: Paths, run: runs.Run) -> None:
    """Store the reference of the exported model of a workspace with its run; only classifiers of images have one."""
    data = splits.load(workspace.prepared)
    if data.task != IMAGE_CLASSIFICATION or not len(data.validation):
        return
    reference = build(workspace.exported / "model.onnx", data.validation, data.classes)
    folder, name = ARTIFACT.split("/")
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / name
        np.savez_compressed(path, **{field.name: getattr(reference, field.name) for field in fields(Reference)})
        run.log_file(path, folder)


def load(version: Version) -> Reference:
    """Return the reference of a version.

    Raises:
        RegistryError: the artifact store does not have it.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        with tempfile.TemporaryDirectory() as folder:
            path = download_artifacts(run_id=version.run_id, artifact_path=ARTIFACT, dst_path=folder)
            with np.load(path, allow_pickle=False) as arrays:
                return Reference(**{field.name: arrays[field.name] for field in fields(Reference)})
    except (MlflowException, OSError, KeyError, ValueError) as error:
        raise RegistryError(
            f"{version.name} version {version.number} has no reference to compare traffic with: {error}",
            "Those of earlier releases have none: `mnistflow retrain -S train.seed=1` registers one that has.",
        ) from error
