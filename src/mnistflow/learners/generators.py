"""Generators: the learner that trains generative adversarial networks with TensorFlow, and exports the generator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistflow import tasks
from mnistflow.arrays import Array, Outputs
from mnistflow.errors import ConfigError
from mnistflow.learners import networks
from mnistflow.learners.config import TrainConfig
from mnistflow.learners.fitting import adversarial, gan_losses, loop
from mnistflow.learners.fitting.epoch import EpochPlan
from mnistflow.learners.learner import Learner, OnEpoch, Training
from mnistflow.models.gan import EMBEDDING, Gan
from mnistflow.runtime import backend
from mnistflow.runtime.batches import EVAL_BATCH_SIZE
from mnistflow.runtime.tensorflow_import import import_tensorflow
from mnistflow.splits import Dataset
from mnistflow.tasks.generation.features import features
from mnistflow.tasks.generation.generation import LATENT, generator_inputs
from mnistflow.tasks.generation.scores import frechet_distance
from mnistflow.tasks.plots import generated_images
from mnistflow.tasks.task import Signature

if TYPE_CHECKING:
    import keras
    import onnx

IMAGES_PER_EVALUATION = 2000
GRID_COLUMNS = 10  # of the film: latent vectors of each class
INTERPOLATION_STEPS = 12
PLOT_SEED = 1  # of the latent vectors of film and interpolation
WHITE = 255


@dataclass(frozen=True)
class Generator:
    """A trained generator.

    Attributes:
        network: from latent vectors and classes to images in 0 to 1.
        frames: uint8 `[epochs, height, width]`, the same latent vectors after each epoch of the training.
    """

    network: keras.Model
    frames: Array


class Generators(Learner[Gan]):
    """Learner of family `gan`."""

    def require(self, family: Gan, config: TrainConfig) -> None:
        if config.backend != backend.DEFAULT:
            raise ConfigError(
                f"train.backend: family gan is trained with {backend.DEFAULT}, not {config.backend}",
                f"Set it to {backend.DEFAULT}.",
            )

    def prepare(self, config: TrainConfig) -> None:
        backend.use(config.backend)
        backend.load_tensorflow(config.threads)

    def max_epochs(self, config: TrainConfig) -> int:
        return config.epochs

    def effective(self, config: TrainConfig, examples: int) -> dict[str, Any]:
        return {**EpochPlan.of(config, examples).parameters()}

    def fit(
        self,
        data: Dataset,
        family: Gan,
        config: TrainConfig,
        on_epoch: OnEpoch,
        checkpoint_folder: Path | None = None,
    ) -> Training:
        """Train a generator and a discriminator; the history has the Fréchet distance to images of both splits."""
        self.require(family, config)
        backend.use(config.backend)
        import keras

        keras.backend.clear_session()
        loop.make_deterministic(config.seed)
        generator = family.build_generator(LATENT, len(data.classes), data.input_shape)
        discriminator = family.build_discriminator(len(data.classes), data.input_shape)
        frame_inputs = _frame_inputs(len(data.classes))

        def draw(network: keras.Model) -> Array:
            return generated_images.grid(_generate(network, frame_inputs), GRID_COLUMNS)

        fitting = adversarial.AdversarialFitting(
            generator,
            discriminator,
            data.train,
            config,
            adversarial.AdversarialSetup(gan_losses.LOSSES[family.loss], family.discriminator_steps),
            measure=_Measure(data),
            draw=draw,
            checkpoint_folder=checkpoint_folder,
        )
        training = fitting.finish(on_epoch)
        return replace(training, model=Generator(training.model, fitting.frames))

    def save(self, model: Generator, folder: Path) -> None:
        model.network.save(folder / networks.FILE)

    def load(self, folder: Path) -> Generator:
        backend.use(backend.DEFAULT)
        import_tensorflow()
        import keras

        network = keras.models.load_model(folder / networks.FILE, compile=False)
        return Generator(network, np.empty((0, 0, 0), np.uint8))

    def predict(self, model: Generator, inputs: Array) -> Outputs:
        images: Outputs = _generate(model.network, inputs)
        return images

    def write_plots(self, model: Generator, folder: Path) -> None:
        """Write `film.gif`, what the same latent vectors gave after each epoch, and `interpolation.png`.

        A row of the interpolation goes from one latent vector to another, all of the same class.
        """
        if len(model.frames):
            generated_images.write_film(folder / "film.gif", model.frames)
        classes = model.network.get_layer(EMBEDDING).input_dim
        generated_images.write_grid(
            folder / "interpolation.png", _generate(model.network, _interpolated(classes)), INTERPOLATION_STEPS
        )

    def convert(self, model: Generator, signature: Signature, opset: int) -> onnx.ModelProto:
        import tensorflow as tf
        import tf2onnx

        specifications = [tf.TensorSpec([None, *one.shape], one.dtype, name=one.name) for one in signature.inputs]

        def compute(latent: Any, labels: Any) -> dict[str, Any]:
            levels = tf.round(WHITE * model.network([latent, labels], training=False))
            return {signature.output_name: tf.cast(levels, signature.output_dtype)}

        function = tf.function(compute, input_signature=specifications)
        proto, _ = tf2onnx.convert.from_function(function, input_signature=specifications, opset=opset)
        return proto


class _Measure:
    """The Fréchet distance of generated images to those of a data set's training and validation split."""

    def __init__(self, data: Dataset) -> None:
        self._data = data
        order = np.random.default_rng(0).permutation(len(data.train))[:IMAGES_PER_EVALUATION]
        self._validation = data.validation.take(np.arange(min(IMAGES_PER_EVALUATION, len(data.validation))))
        self._features = features(data.train.inputs[order])
        self._evaluation = tasks.get(data.task).evaluation_split(self._validation)

    def __call__(self, network: keras.Model) -> dict[str, float]:
        task = tasks.get(self._data.task)
        images = _generate(network, self._evaluation.inputs)
        metrics = task.measure(images, self._evaluation.targets, self._data.classes).metrics
        distance = frechet_distance(features(images), self._features)
        return {
            task.headline.name: distance,
            "loss": distance,
            **{f"val_{name}": metrics[name] for name in (task.headline.name, "agreement", "loss")},
        }


def _generate(network: keras.Model, inputs: Array) -> Any:
    """Return images, uint8 `[n, height, width]`, for structured inputs `[n]`."""
    made = network.predict([inputs["latent"], inputs["class"]], batch_size=EVAL_BATCH_SIZE, verbose=0)
    return np.round(WHITE * made).astype(np.uint8)


def _frame_inputs(classes: int) -> Array:
    """Return inputs of a frame of the film: a row of images for each class, the same latent vectors in each row."""
    inputs = generator_inputs(np.repeat(np.arange(classes), GRID_COLUMNS), PLOT_SEED)
    inputs["latent"] = np.tile(inputs["latent"][:GRID_COLUMNS], (classes, 1))
    return inputs


def _interpolated(classes: int) -> Array:
    """Return inputs for a row of images of each class, from one latent vector to another on a great circle."""
    inputs = generator_inputs(np.repeat(np.arange(classes), INTERPOLATION_STEPS), PLOT_SEED)
    for rows in np.arange(classes * INTERPOLATION_STEPS).reshape(classes, INTERPOLATION_STEPS):
        start, end = (inputs["latent"][row].astype(np.float64) for row in (rows[0], rows[-1]))
        angle = np.linspace(0, np.pi / 2, INTERPOLATION_STEPS)[:, None]
        inputs["latent"][rows] = np.cos(angle) * start + np.sin(angle) * end
    return inputs
