"""Losses of generative adversarial networks, each the pair of what the discriminator and the generator minimize."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import keras

PENALTY_WEIGHT = 10.0  # of Gulrajani et al.
MIN_SQUARE = 1e-12  # the root of zero has no gradient


class GanLoss(Protocol):
    """Loss of a discriminator and a generator, from the logits of real and of generated images."""

    def of_discriminator(
        self, discriminator: keras.Model, real: Any, generated: Any, classes: Any, interpolation_weights: Any
    ) -> Any:
        """Return the loss of the discriminator, a scalar.

        Args:
            discriminator: from images and classes to logits `[batch]`.
            real: float32 `[batch, height, width]`, in 0 to 1.
            generated: the same.
            classes: of both, int64 `[batch]`.
            interpolation_weights: random weights of the real images in interpolated ones, float32 `[batch]`, in 0 to 1.
        """
        ...

    def of_generator(self, logits: Any) -> Any:
        """Return the loss of the generator, a scalar, from the logits `[batch]` of its images."""
        ...


class NonSaturating:
    """Cross-entropy; the generator maximizes the log-probability that its images are real (arXiv:1406.2661)."""

    def of_discriminator(
        self,
        discriminator: keras.Model,
        real: Any,
        generated: Any,
        classes: Any,
        interpolation_weights: Any,
    ) -> Any:
        import tensorflow as tf

        of_real, of_generated = _logits(discriminator, real, generated, classes)
        return tf.reduce_mean(tf.nn.softplus(-of_real)) + tf.reduce_mean(tf.nn.softplus(of_generated))

    def of_generator(self, logits: Any) -> Any:
        import tensorflow as tf

        return tf.reduce_mean(tf.nn.softplus(-logits))


class Wasserstein:
    """Difference of mean logits, with a penalty for gradients whose norm is not 1 (WGAN-GP, arXiv:1704.00028)."""

    def of_discriminator(
        self, discriminator: keras.Model, real: Any, generated: Any, classes: Any, interpolation_weights: Any
    ) -> Any:
        import tensorflow as tf

        of_real, of_generated = _logits(discriminator, real, generated, classes)
        mixed = generated + interpolation_weights[:, None, None] * (real - generated)
        with tf.GradientTape() as tape:
            tape.watch(mixed)
            logits = discriminator([mixed, classes], training=True)
        squares = tf.reduce_sum(tape.gradient(logits, mixed) ** 2, axis=[1, 2])
        penalty = tf.reduce_mean((tf.sqrt(squares + MIN_SQUARE) - 1) ** 2)
        return tf.reduce_mean(of_generated) - tf.reduce_mean(of_real) + PENALTY_WEIGHT * penalty

    def of_generator(self, logits: Any) -> Any:
        import tensorflow as tf

        return -tf.reduce_mean(logits)


LOSSES: dict[str, GanLoss] = {"non_saturating": NonSaturating(), "wasserstein": Wasserstein()}


def _logits(discriminator: keras.Model, real: Any, generated: Any, classes: Any) -> tuple[Any, Any]:
    """Return the logits of real and of generated images, computed as one batch."""
    import tensorflow as tf

    count = tf.shape(real)[0]
    both = tf.concat([real, generated], axis=0), tf.concat([classes, classes], axis=0)
    logits = discriminator(list(both), training=True)
    return logits[:count], logits[count:]
