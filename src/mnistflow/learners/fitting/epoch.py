"""Plan of the epochs of a training: batch size, passes over the training examples, and steps.

What a network learns depends on its steps: six epochs are 2,532 steps on MNIST, but six on a hundred images in batches
of 128. So an epoch has at least `train.min_steps` steps: it passes over small data several times, each time in another
order, and augments it more. Epochs, patience and the schedule of the learning rate then mean the same on data of any
size.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnistflow.learners.config import TrainConfig


MIN_BATCH, MAX_BATCH = 16, 128  # of `auto`
MANY_PASSES = 10  # from which augmentation has its full gain
BATCHES = 8  # in a pass with `auto`, unless that gives batches outside these limits


@dataclass(frozen=True)
class EpochPlan:
    """Batch size, passes and steps of every epoch of a training.

    Attributes:
        examples: number of training examples.
        batch_size: examples per step.
        passes: how often an epoch shows each training example.
        augmentation: factor of `train.augment`.
        is_shuffled: whether each pass has another order.
    """

    examples: int
    batch_size: int
    passes: int
    augmentation: float
    is_shuffled: bool = True

    @classmethod
    def of(cls, config: TrainConfig, examples: int) -> EpochPlan:
        """Return the plan for section `train` of params.yaml and a number of examples.

        Args:
            config: `batch_size: auto` becomes an eighth of the examples, from 16 to 128.
            examples: number of training examples.
        """
        scaled = min(MAX_BATCH, max(MIN_BATCH, examples // BATCHES))
        batch_size = scaled if config.batch_size == "auto" else config.batch_size
        passes = max(1, ceil(config.min_steps * batch_size / examples))
        gain = 1 + (config.augment_gain - 1) * min(1.0, log(passes) / log(MANY_PASSES))
        return cls(examples, batch_size, passes, gain, is_shuffled=not config.online)

    @property
    def steps(self) -> int:
        """Number of steps, of which the last may have fewer examples."""
        return ceil(self.passes * self.examples / self.batch_size)

    def parameters(self) -> dict[str, int]:
        """Return the resolved batch size, passes and steps, by dotted key."""
        return {
            "train.batch_size": self.batch_size,
            "train.passes_per_epoch": self.passes,
            "train.steps_per_epoch": self.steps,
        }

    def order(self, seed: int, number: int) -> NDArray[np.intp]:
        """Return the indices of the examples of an epoch, `[passes * examples]`; the same seed gives the same ones.

        Args:
            seed: of the training.
            number: of the epoch, from 0.
        """
        if not self.is_shuffled:
            return np.tile(np.arange(self.examples), self.passes)
        generator = np.random.default_rng((seed, number))
        return np.concatenate([generator.permutation(self.examples) for _ in range(self.passes)])
