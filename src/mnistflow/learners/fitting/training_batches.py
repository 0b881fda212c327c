"""Batches of a training: shuffled and augmented anew in each epoch, with the soft targets of a teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnistflow.learners.augmentation import pipeline
from mnistflow.learners.augmentation.pipeline import Augment
from mnistflow.runtime.batches import batches, prefetched, threads

if TYPE_CHECKING:
    import tensorflow as tf

    from mnistflow.learners.config import TrainConfig
    from mnistflow.learners.distillation import Teacher
    from mnistflow.learners.fitting.epoch import EpochPlan
    from mnistflow.splits import Split


class TrainingBatches:
    """Batches of the epochs of a training. They depend on the seed and the number of the epoch only.

    Args:
        train: training examples; images are augmented by `config.augment`.
        config: section `train` of params.yaml.
        plan: batch size, order and strength of augmentation of an epoch.
        teacher: makes soft targets of the labels; None keeps the labels.
    """

    def __init__(self, train: Split, config: TrainConfig, plan: EpochPlan, teacher: Teacher | None) -> None:
        self._train = train
        self._config = config
        self._plan = plan
        self._teacher = teacher
        self._augment = pipeline.compiled(config.augment) if config.augment.active else None

    def of(self, epoch: int) -> tf.data.Dataset:
        """Return the batches of an epoch, counted from 0."""
        order = self._plan.order(self._config.seed, epoch)
        found = batches(self._train.inputs[order], self._train.targets[order], size=self._plan.batch_size)
        if self._augment:
            found = self._augmented(found, epoch, self._augment)
        if self._teacher:
            found = found.map(self._teacher.soften_targets, num_parallel_calls=threads())
        return prefetched(found)

    def _augmented(self, found: tf.data.Dataset, epoch: int, augment: Augment) -> tf.data.Dataset:
        import tensorflow as tf

        strength = self._plan.augmentation * _remaining_strength(epoch, self._config)

        def augmented(step: Any, batch: Any) -> Any:
            seed = tf.stack([self._config.seed, tf.cast(step, tf.int32)])
            return augment(*batch, seed, strength=tf.constant(strength, tf.float32))

        return found.enumerate(epoch * self._plan.steps).map(augmented, num_parallel_calls=threads())


def _remaining_strength(epoch: int, config: TrainConfig) -> float:
    """Return the factor of geometric augmentation in an epoch: 1 until the linear fade begins."""
    remaining = (config.epochs - epoch - 0.5) / config.epochs
    return min(1.0, remaining / config.augment_fade) if config.augment_fade else 1.0
