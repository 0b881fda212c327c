"""Adversarial training of a generator and a discriminator: losses, steps, and moving averages of the weights.

An epoch is one call of a compiled function. Latent vectors depend on the seed and the number of the step only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistflow.arrays import Array
from mnistflow.learners.config import TrainConfig
from mnistflow.learners.fitting import optimizers
from mnistflow.learners.fitting.epoch import EpochPlan
from mnistflow.learners.fitting.gan_losses import GanLoss
from mnistflow.learners.fitting.loop import Fitting
from mnistflow.splits import Split

if TYPE_CHECKING:
    import keras

WARM_UP = 10  # steps; the moving average of so few would keep the initial weights

Measure = Callable[["keras.Model"], dict[str, float]]
Draw = Callable[["keras.Model"], Array]


@dataclass(frozen=True)
class AdversarialSetup:
    """How generator and discriminator are trained against each other.

    Attributes:
        discriminator_steps: steps of the discriminator for each of the generator.
    """

    loss: GanLoss
    discriminator_steps: int = 1


class AdversarialFitting(Fitting):
    """The training of a generator against a discriminator.

    The model that is evaluated, and is the result, is a third network: it has the moving averages of the generator's
    weights.

    Args:
        generator: from latent vectors and classes to images in 0 to 1.
        discriminator: from images in 0 to 1 and classes to logits.
        train: images uint8 `[n, height, width]`, and their classes.
        config: section `train` of params.yaml.
        setup: the loss, and who takes how many steps.
        measure: returns metrics of a generator, `val_loss` among them.
        draw: returns an image uint8 `[height, width]` of what a generator makes.
        checkpoint_folder: where to write a checkpoint after each epoch. A checkpoint found there is resumed.
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        train: Split,
        config: TrainConfig,
        setup: AdversarialSetup,
        *,
        measure: Measure,
        draw: Draw,
        checkpoint_folder: Path | None = None,
    ) -> None:
        import keras

        self._generator = generator
        self._discriminator = discriminator
        self._average = keras.models.clone_model(generator)
        self._average.set_weights(generator.get_weights())
        self._plan = EpochPlan.of(config, len(train))
        self._generator_optimizer = _optimizer(generator, config, self._plan)
        self._discriminator_optimizer = _optimizer(discriminator, config, self._plan)
        self._measure = measure
        self._draw = draw
        self._frames: list[Array] = []
        self._run = self._compiled_epoch(train, config, setup)
        super().__init__(self._average, config, checkpoint_folder)

    @property
    def frames(self) -> Array:
        """What `draw` returned after each epoch, uint8 `[epochs, height, width]`."""
        return np.stack(self._frames)

    def _train_epoch(self, epoch: int) -> tuple[Mapping[str, float], float]:
        started = time.perf_counter()
        order = self._plan.order(self._config.seed, epoch)
        batches = np.resize(order, (self._plan.steps, self._plan.batch_size)).astype(np.int32)
        generator_loss, discriminator_loss = (float(loss) for loss in self._run(batches, epoch * self._plan.steps))
        losses = {"discriminator_loss": discriminator_loss, "generator_loss": generator_loss}
        metrics = {**losses, **self._measure(self._average)}
        seconds = time.perf_counter() - started
        self._frames.append(self._draw(self._average))
        return metrics, seconds

    def _state(self) -> list[Array]:
        return [*(np.asarray(variable) for variable in self._variables), self.frames]

    def _restore(self, state: Sequence[Array]) -> None:
        *values, frames = state
        self._frames = list(frames)
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)

    @property
    def _variables(self) -> list[Any]:
        networks = (self._generator, self._average, self._discriminator)
        pair = (self._generator_optimizer, self._discriminator_optimizer)
        return [variable for owner in (*networks, *pair) for variable in owner.variables]

    def _compiled_epoch(self, train: Split, config: TrainConfig, setup: AdversarialSetup) -> Any:
        """Return a compiled function of batches of indices `[steps, batch]` and the number of the first step.

        It trains, and returns the mean losses of the generator and of the discriminator.
        """
        import tensorflow as tf

        images, labels = tf.constant(train.inputs), tf.constant(train.targets.astype(np.int64))
        plan, latent = self._plan, self._generator.inputs[0].shape[-1]
        shape = (2, plan.batch_size, latent)

        def step(rows: Any, number: Any) -> Any:
            real = tf.cast(tf.gather(images, rows), tf.float32) / 255
            classes = tf.gather(labels, rows)
            seed = tf.stack([config.seed, number])
            vectors = tf.random.stateless_normal(shape, seed)
            interpolation_weights = tf.random.stateless_uniform([plan.batch_size], seed)
            discriminator_loss = self._train_discriminator(setup.loss, real, classes, vectors[0], interpolation_weights)

            def train_generator() -> Any:
                loss = self._train_generator(setup.loss, classes, vectors[1])
                self._update_average(config.ema, number // setup.discriminator_steps)
                return loss

            if setup.discriminator_steps == 1:
                return tf.stack([train_generator(), discriminator_loss])
            is_due = tf.equal((number + 1) % setup.discriminator_steps, 0)
            return tf.stack([tf.cond(is_due, train_generator, lambda: tf.constant(0.0)), discriminator_loss])

        @tf.function(  # type: ignore[untyped-decorator]
            input_signature=[tf.TensorSpec([plan.steps, plan.batch_size], tf.int32), tf.TensorSpec([], tf.int32)]
        )
        def run(batches: Any, first: Any) -> Any:
            total = tf.zeros(2)
            for number in tf.range(plan.steps):
                total += step(batches[number], first + number)
            return tf.unstack(total / plan.steps * tf.constant([setup.discriminator_steps, 1.0]))

        return run

    def _train_discriminator(
        self, loss: GanLoss, real: Any, classes: Any, vectors: Any, interpolation_weights: Any
    ) -> Any:
        import tensorflow as tf

        generated = self._generator([vectors, classes], training=True)
        with tf.GradientTape() as tape:
            value = loss.of_discriminator(self._discriminator, real, generated, classes, interpolation_weights)
        _apply(tape, value, self._discriminator, self._discriminator_optimizer)
        return value

    def _train_generator(self, loss: GanLoss, classes: Any, vectors: Any) -> Any:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            generated = self._generator([vectors, classes], training=True)
            # Not in training mode, which would normalize the discriminator's weights a second time.
            value = loss.of_generator(self._discriminator([generated, classes], training=False))
        _apply(tape, value, self._generator, self._generator_optimizer)
        return value

    def _update_average(self, momentum: float, number: Any) -> None:
        import tensorflow as tf

        steps = tf.cast(number, tf.float32) + 1
        decay = tf.minimum(momentum, steps / (steps + WARM_UP)) if momentum else tf.constant(0.0)
        for mean, variable in zip(self._average.variables, self._generator.variables, strict=True):
            mean.assign(decay * mean + (1 - decay) * variable)


def _optimizer(network: keras.Model, config: TrainConfig, plan: EpochPlan) -> keras.Optimizer:
    # `assign_averages` of Keras's optimizers leaves out the statistics of normalizations.
    optimizer = optimizers.build(config.model_copy(update={"ema": 0.0}), plan.steps)
    optimizer.build(network.trainable_variables)
    return optimizer


def _apply(tape: Any, loss: Any, network: keras.Model, optimizer: keras.Optimizer) -> None:
    variables = network.trainable_variables
    optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)
