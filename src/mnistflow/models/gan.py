"""Generative adversarial network: a generator of images, and a discriminator that tells them from real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from mnistflow.models.family import Family, TaskTraits
from mnistflow.schema import Positive

if TYPE_CHECKING:
    import keras

KERNEL = 4  # a multiple of the stride, so that transposed convolutions leave no checkerboard
EMBEDDING = "class_embedding"  # name of the generator's layer
HALVINGS = 2  # of height and width
MOMENTUM = 0.9  # of batch normalization's moving averages
SLOPE = 0.2  # of leaky ReLU


class Gan(Family):
    """Conditional deep convolutional GAN.

    Both networks follow Radford et al. (DCGAN, arXiv:1511.06434). The discriminator has spectral normalization (Miyato
    et al., arXiv:1802.05957) instead of batch normalization, and takes the class as a projection (Miyato and Koyama,
    arXiv:1802.05637). The generator takes it as a vector beside the latent one. With the loss of Wasserstein, whose
    penalty limits the discriminator's gradients, no layer of it is normalized.

    Attributes:
        generator: filters of the generator at a quarter of the image's side; half as many at half of it.
        discriminator: filters of the discriminator at half of the image's side; twice as many at a quarter of it.
        embedding: size of the vector that stands for a class in the generator.
        discriminator_steps: steps of the discriminator for each of the generator.
    """

    summary = "Generative adversarial network: a generator of images, and its discriminator"
    learner: ClassVar[str] = "gan"
    input_dimensions: ClassVar[int | None] = 2
    generates: ClassVar[bool] = True

    generator: Positive = 64
    discriminator: Positive = 32
    embedding: Positive = 16
    loss: Literal["non_saturating", "wasserstein"] = "non_saturating"
    discriminator_steps: Positive = 1

    def incompatibility(self, task: TaskTraits, input_shape: tuple[int, ...]) -> str | None:
        if reason := super().incompatibility(task, input_shape):
            return reason
        divisor = 2**HALVINGS
        if any(side % divisor for side in input_shape):
            return f"needs images whose sides are multiples of {divisor}, but theirs are {list(input_shape)}"
        return None

    def build_generator(self, latent: int, classes: int, shape: tuple[int, ...]) -> keras.Model:
        """Return the network from latent vectors float32 `[batch, latent]` and classes int64 `[batch]` to images.

        Args:
            latent: size of a latent vector.
            classes: number of classes.
            shape: height and width of the images, which are float32 `[batch, height, width]` in 0 to 1.
        """
        import keras

        layers = keras.layers
        vectors = keras.Input((latent,), name="latent")
        labels = keras.Input((), dtype="int64", name="class")
        height, width = (side // 2**HALVINGS for side in shape)
        filters = self.generator
        x = layers.Concatenate()([vectors, layers.Embedding(classes, self.embedding, name=EMBEDDING)(labels)])
        x = layers.Dense(height * width * filters, use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=MOMENTUM)(x))
        x = layers.Reshape((height, width, filters))(x)
        x = layers.Conv2DTranspose(max(filters // 2, 1), KERNEL, 2, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=MOMENTUM)(x))
        x = layers.Conv2DTranspose(1, KERNEL, 2, padding="same", activation="sigmoid")(x)
        return keras.Model([vectors, labels], layers.Reshape(shape)(x), name="generator")

    def build_discriminator(self, classes: int, shape: tuple[int, ...]) -> keras.Model:
        """Return the network from images float32 `[batch, height, width]` and classes int64 `[batch]` to logits.

        A logit, float32 `[batch]`, is positive for images that look real for their class.

        Args:
            classes: number of classes.
            shape: height and width of the images, whose pixels are in 0 to 1.
        """
        import keras

        layers = keras.layers
        normalized = layers.SpectralNormalization if self.loss == "non_saturating" else _unchanged
        images = keras.Input(shape, name="images")
        labels = keras.Input((), dtype="int64", name="class")
        x = layers.Rescaling(2.0, -1.0)(layers.Reshape((*shape, 1))(images))
        for factor in (1, 2):
            x = normalized(layers.Conv2D(factor * self.discriminator, KERNEL, 2, padding="same"))(x)
            x = layers.LeakyReLU(SLOPE)(x)
        features = layers.Flatten()(x)
        # Not normalized: Keras's layer would round the vectors to the dtype of its input, integers.
        projection = layers.Embedding(classes, features.shape[-1])(labels)
        logits = normalized(layers.Dense(1))(features)
        similarity = layers.Dot(axes=1)([features, projection])
        return keras.Model([images, labels], layers.Reshape(())(logits + similarity), name="discriminator")


def _unchanged(layer: keras.layers.Layer) -> keras.layers.Layer:
    return layer
