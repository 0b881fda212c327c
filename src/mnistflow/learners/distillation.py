"""Distillation: a network learns the probabilities of a registered model, its teacher, beside the labels.

The targets are a weighted mean of the labels and of the teacher's probabilities at a temperature (Hinton, Vinyals and
Dean, arXiv:1503.02531). The teacher predicts the same augmented image as the student, so its targets contain
more than the training labels ("function matching", Beyer et al., arXiv:2106.05237).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnistflow.errors import ConfigError
from mnistflow.learners import registered_models
from mnistflow.learners.config import DistillationConfig
from mnistflow.registry import versions
from mnistflow.runtime import onnx_session
from mnistflow.splits import Dataset
from mnistflow.tasks import identity
from mnistflow.tasks.temperature import tempered

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from mnistflow.arrays import Array, Outputs

PARAMETER = "train.distillation.teacher"


class Teacher:
    """A registered model that labels batches of images.

    Args:
        session: of the teacher's ONNX file.
        config: temperature and weight.
        classes: number of classes.
    """

    def __init__(self, session: InferenceSession, config: DistillationConfig, classes: int) -> None:
        self._session, self._config, self._classes = session, config, classes

    def soften_targets(self, images: Any, labels: Any) -> tuple[Any, Any]:
        """Return a batch with soft targets: images as they are, and targets float32 `[batch, classes]`.

        Args:
            images: uint8 tensor `[batch, height, width]`.
            labels: class indices, integer tensor `[batch]`; -1 for outliers, whose target is uniform and gets no
                teacher term.
        """
        import tensorflow as tf

        probabilities = tf.numpy_function(self._probabilities, [images], tf.float32, stateful=False)
        teacher_probabilities = tf.ensure_shape(probabilities, [None, self._classes])
        has_class = tf.cast(labels >= 0, tf.float32)[:, None]
        targets = tf.one_hot(labels, self._classes) + (1 - has_class) / self._classes
        weight = self._config.weight * has_class
        return images, weight * teacher_probabilities + (1 - weight) * targets

    def _probabilities(self, images: Array) -> Outputs:
        return tempered(onnx_session.predict(self._session, images), self._config.temperature)


def pin(config: DistillationConfig, dataset: str) -> dict[str, Any]:
    """Return overrides, by dotted key, that fix the teacher before the run starts; none without a teacher.

    Raises:
        ConfigError: the data set has no images.
        RegistryError: there is no such version.
    """
    if config.teacher is None:
        return {}
    if versions.task_of(dataset) != identity.IMAGE_CLASSIFICATION:
        raise ConfigError(f"{PARAMETER}: {dataset} has no images", "Set it to null.")
    version = registered_models.find(config.teacher, dataset, PARAMETER)
    return {PARAMETER: version.number, "train.distillation.sha256": version.sha256}


def teacher(config: DistillationConfig, data: Dataset) -> Teacher | None:
    """Return the teacher of a training, read from the registry; None without one.

    Raises:
        RegistryError: it is missing, has changed since the start of the run, or has another signature than the data.
    """
    if config.teacher is None:
        return None
    version = registered_models.find(config.teacher, data.name, PARAMETER)
    model = registered_models.read(version, data, config.sha256 or version.sha256, PARAMETER)
    # tf.data calls it on several threads already.
    return Teacher(onnx_session.open_session(model, threads=1), config, len(data.classes))
