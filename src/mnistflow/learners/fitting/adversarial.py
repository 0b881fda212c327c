"""Adversarial training of a generator and a discriminator: losses, steps, moving averages, and checkpoints.

An epoch is one call of a compiled function. As in `loop`, the same seed on the same machine gives the same weights, bit
for bit, also after an interruption: latent vectors depend on the seed and the number of the step only.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistflow.arrays import Array
from mnistflow.learners.config import TrainConfig
from mnistflow.learners.fitting import checkpoint, optimizers
from mnistflow.learners.fitting.checkpoint import Checkpoint
from mnistflow.learners.fitting.epoch import EpochPlan
from mnistflow.learners.fitting.gan_losses import GanLoss
from mnistflow.learners.fitting.progress import Progress
from mnistflow.learners.learner import History, OnEpoch
from mnistflow.splits import Split

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)

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


@dataclass
class _State:
    """The state of a training.

    Attributes:
        generator: the network that is trained.
        average: with the moving averages of the generator's weights; evaluated, and the result of the training.
        discriminator: the network that it is trained against.
        progress: metrics of the epochs so far, and the best weights of `average`.
        frames: what `average` draws from the same inputs after each epoch.
    """

    generator: keras.Model
    average: keras.Model
    discriminator: keras.Model
    optimizers: tuple[keras.Optimizer, keras.Optimizer]
    progress: Progress
    frames: list[Array] = field(default_factory=list)

    @property
    def variables(self) -> list[Any]:
        """All variables that the next epoch depends on."""
        networks = (self.generator, self.average, self.discriminator)
        return [variable for one in (*networks, *self.optimizers) for variable in one.variables]


@dataclass(frozen=True)
class Fitted:
    """A trained generator.

    Attributes:
        generator: with the weights of the best epoch.
        best_epoch: number of that epoch, from 1.
        frames: uint8 `[epochs, height, width]`, what `draw` returned after each epoch.
        seconds: time spent training.
    """

    generator: keras.Model
    history: History
    best_epoch: int
    frames: Array
    seconds: float


def fit(
    generator: keras.Model,
    discriminator: keras.Model,
    train: Split,
    config: TrainConfig,
    setup: AdversarialSetup,
    *,
    measure: Measure,
    draw: Draw,
    on_epoch: OnEpoch,
    checkpoint_folder: Path | None = None,
) -> Fitted:
    """Train until `val_loss` has not improved for `config.patience` epochs, or for `config.epochs` epochs.

    Args:
        generator: from latent vectors and classes to images in 0 to 1.
        discriminator: from images in 0 to 1 and classes to logits.
        train: images uint8 `[n, height, width]`, and their classes.
        config: section `train` of params.yaml.
        setup: the loss, and who takes how many steps.
        measure: returns metrics of a generator, `val_loss` among them.
        draw: returns an image uint8 `[height, width]` of what a generator makes.
        on_epoch: called with the number of the epoch, from 1, and its metrics; an exception ends the training.
        checkpoint_folder: where to write a checkpoint after each epoch, and to resume from.

    Raises:
        StageError: the training diverged in its first epoch.
    """
    import keras

    plan = EpochPlan.of(config, len(train))
    average = keras.models.clone_model(generator)
    average.set_weights(generator.get_weights())
    # `assign_averages` of Keras's optimizers leaves out the statistics of normalizations.
    plain = config.model_copy(update={"ema": 0.0})
    pair = (optimizers.build(plain, plan.steps), optimizers.build(plain, plan.steps))
    for optimizer, network in zip(pair, (generator, discriminator), strict=True):
        optimizer.build(network.trainable_variables)
    state = _State(generator, average, discriminator, pair, Progress(generator.get_weights()))
    progress = state.progress
    if checkpoint_folder:
        _resume(state, checkpoint_folder)
    progress.replay(on_epoch)
    run = _compiled_epoch(state, train, config, plan, setup)
    while not progress.is_finished(config):
        _run_epoch(state, run, config, plan, measure)
        state.frames.append(draw(state.average))
        if checkpoint_folder:
            checkpoint.write(checkpoint_folder, _checkpoint(state))
        progress.report_last(on_epoch)
    progress.require_convergence()
    state.average.set_weights(progress.best_weights)
    return Fitted(state.average, progress.history, progress.best_epoch, np.stack(state.frames), progress.seconds)


def _run_epoch(state: _State, run: Any, config: TrainConfig, plan: EpochPlan, measure: Measure) -> None:
    started = time.perf_counter()
    epoch = state.progress.epoch
    order = plan.order(config.seed, epoch)
    batches = np.resize(order, (plan.steps, plan.batch_size)).astype(np.int32)
    generator_loss, discriminator_loss = (float(loss) for loss in run(batches, epoch * plan.steps))
    metrics = {"discriminator_loss": discriminator_loss, "generator_loss": generator_loss, **measure(state.average)}
    state.progress.seconds += time.perf_counter() - started
    state.progress.add(metrics, state.average.get_weights)


def _compiled_epoch(state: _State, train: Split, config: TrainConfig, plan: EpochPlan, setup: AdversarialSetup) -> Any:
    """Return a compiled function of batches of indices `[steps, batch]` and the number of the first step.

    It trains, and returns the mean losses of the generator and of the discriminator.
    """
    import tensorflow as tf

    images, labels = tf.constant(train.inputs), tf.constant(train.targets.astype(np.int64))
    latent = state.generator.inputs[0].shape[-1]
    shape = (2, plan.batch_size, latent)

    def step(rows: Any, number: Any) -> Any:
        real = tf.cast(tf.gather(images, rows), tf.float32) / 255
        classes = tf.gather(labels, rows)
        seed = tf.stack([config.seed, number])
        vectors = tf.random.stateless_normal(shape, seed)
        interpolation_weights = tf.random.stateless_uniform([plan.batch_size], seed)
        discriminator_loss = _train_discriminator(state, setup.loss, real, classes, vectors[0], interpolation_weights)

        def train_generator() -> Any:
            loss = _train_generator(state, setup.loss, classes, vectors[1])
            _update_average(state, config.ema, number // setup.discriminator_steps)
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
    state: _State, loss: GanLoss, real: Any, classes: Any, vectors: Any, interpolation_weights: Any
) -> Any:
    import tensorflow as tf

    generated = state.generator([vectors, classes], training=True)
    with tf.GradientTape() as tape:
        value = loss.of_discriminator(state.discriminator, real, generated, classes, interpolation_weights)
    _apply(tape, value, state.discriminator, state.optimizers[1])
    return value


def _train_generator(state: _State, loss: GanLoss, classes: Any, vectors: Any) -> Any:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        generated = state.generator([vectors, classes], training=True)
        # Not in training mode, which would normalize the discriminator's weights a second time.
        value = loss.of_generator(state.discriminator([generated, classes], training=False))
    _apply(tape, value, state.generator, state.optimizers[0])
    return value


def _apply(tape: Any, loss: Any, network: keras.Model, optimizer: keras.Optimizer) -> None:
    variables = network.trainable_variables
    optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)


def _update_average(state: _State, momentum: float, number: Any) -> None:
    import tensorflow as tf

    steps = tf.cast(number, tf.float32) + 1
    decay = tf.minimum(momentum, steps / (steps + WARM_UP)) if momentum else tf.constant(0.0)
    for mean, variable in zip(state.average.variables, state.generator.variables, strict=True):
        mean.assign(decay * mean + (1 - decay) * variable)


def _checkpoint(state: _State) -> Checkpoint:
    variables = [np.asarray(variable) for variable in state.variables]
    return state.progress.checkpoint([*variables, np.stack(state.frames)])


def _resume(state: _State, folder: Path) -> None:
    resumed = checkpoint.read(folder)
    if resumed is None:
        return
    state.progress.restore(resumed)
    *values, frames = resumed.variables
    state.frames = list(frames)
    for variable, value in zip(state.variables, values, strict=True):
        variable.assign(value)
    logger.info("resuming after epoch %d", resumed.epoch)
