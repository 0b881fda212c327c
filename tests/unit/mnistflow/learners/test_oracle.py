"""Keras against plain NumPy: the same outputs, losses, gradients, and weights after gradient descent."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mnistflow import tasks
from mnistflow.learners.fitting import supervised
from mnistflow.models.networks.mlp import Mlp
from mnistflow.splits import Split
from mnistflow.tasks.task import Signature, Task

pytestmark = pytest.mark.slow

Array = NDArray[Any]
ROWS = 24
RATE = 0.1
SEED = 3

ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "relu": (lambda x: np.maximum(x, 0), lambda y: (y > 0).astype(float)),
    "tanh": (np.tanh, lambda y: 1 - y**2),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), lambda y: y * (1 - y)),
}
SHAPES = {
    "image_classification": ((5, 4), ("a", "b", "c")),
    "binary_classification": ((12,), ("a", "b")),
    "forecasting": ((10, 1), ()),
}


@dataclass
class Oracle:
    """A perceptron in double precision, with back-propagation written out (Rumelhart, Hinton and Williams 1986).

    Attributes:
        weights: kernel `[inputs, units]` and bias `[units]` of each layer in turn, as Keras lists them.
    """

    task: str
    activation: str
    weights: list[Array]

    def layers(self, inputs: Array) -> list[Array]:
        """Return the flattened inputs, and what each layer makes of the one before."""
        apply, _ = ACTIVATIONS[self.activation]
        values = [inputs.reshape(len(inputs), -1) / (255 if self.task == "image_classification" else 1)]
        for kernel, bias in self._pairs():
            values.append(values[-1] @ kernel + bias)
            values[-1] = self._head(values[-1]) if len(values) == len(self.weights) // 2 + 1 else apply(values[-1])
        return values

    def loss(self, inputs: Array, targets: Array) -> float:
        outputs = self.layers(inputs)[-1]
        match self.task:
            case "image_classification":
                return float(-np.log(outputs[np.arange(len(targets)), targets]).mean())
            case "binary_classification":
                certain = np.where(targets == 1, outputs[:, 0], 1 - outputs[:, 0])
                return float(-np.log(certain).mean())
            case _:
                return float(((outputs[:, 0] - targets) ** 2).mean())

    def gradients(self, inputs: Array, targets: Array) -> list[Array]:
        _, slope = ACTIVATIONS[self.activation]
        values = self.layers(inputs)
        # Of the loss to the last layer before its softmax or sigmoid: the difference to the truth, in all three cases.
        delta = (values[-1] - self._truth(targets)) * (2 if self.task == "forecasting" else 1) / len(targets)
        found: list[Array] = []
        for (kernel, _), value in reversed(list(zip(self._pairs(), values[:-1], strict=True))):
            found = [value.T @ delta, delta.sum(axis=0), *found]
            delta = delta @ kernel.T * slope(value)
        return found

    def descend(self, inputs: Array, targets: Array) -> None:
        """Take one step of gradient descent."""
        gradients = self.gradients(inputs, targets)
        self.weights = [weight - RATE * slope for weight, slope in zip(self.weights, gradients, strict=True)]

    def _pairs(self) -> Iterator[tuple[Array, Array]]:
        return zip(self.weights[::2], self.weights[1::2], strict=True)

    def _head(self, logits: Array) -> Array:
        match self.task:
            case "image_classification":
                powers = np.exp(logits - logits.max(axis=1, keepdims=True))
                return powers / powers.sum(axis=1, keepdims=True)
            case "binary_classification":
                return 1 / (1 + np.exp(-logits))
            case _:
                return logits

    def _truth(self, targets: Array) -> Array:
        classes = len(SHAPES[self.task][1])
        return np.eye(classes)[targets] if self.task == "image_classification" else targets[:, None]


def examples(task: str) -> tuple[Array, Array]:
    shape, classes = SHAPES[task]
    generator = np.random.default_rng(1)
    if task == "image_classification":
        return generator.integers(0, 256, (ROWS, *shape), np.uint8), generator.integers(0, len(classes), ROWS)
    inputs = generator.normal(size=(ROWS, *shape)).astype(np.float32)
    return inputs, generator.integers(0, 2, ROWS) if classes else generator.normal(size=ROWS).astype(np.float32)


def subject(task: str, activation: Any) -> tuple[Task, Signature, Mlp]:
    found = tasks.get(task)
    return (
        found,
        found.signature(*SHAPES[task]),
        Mlp(auto_levels=False, units=(7, 6), activation=activation, dropout=0.0),
    )


def pair(task: str, activation: str) -> tuple[Any, Oracle]:
    """Return a Keras model, as the pipeline builds it, and an oracle with the same weights."""
    import keras

    keras.utils.set_random_seed(SEED)
    found, signature, family = subject(task, activation)
    model = found.build(family, signature)
    found.compile(model, keras.optimizers.SGD(RATE))
    return model, Oracle(task, activation, [weight.astype(np.float64) for weight in model.get_weights()])


def assert_same(ours: list[Array], theirs: list[Array]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert np.allclose(one, other, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("task", SHAPES)
def test_outputs_loss_and_gradients(task: str, activation: str) -> None:
    import tensorflow as tf

    model, oracle = pair(task, activation)
    inputs, targets = examples(task)
    with tf.GradientTape() as tape:
        outputs = model(inputs)
        loss = model.compute_loss(x=inputs, y=tf.constant(targets), y_pred=outputs)
    assert_same([oracle.layers(inputs)[-1]], [outputs.numpy()])
    assert float(loss) == pytest.approx(oracle.loss(inputs, targets), rel=1e-5)
    assert_same(oracle.gradients(inputs, targets), [g.numpy() for g in tape.gradient(loss, model.trainable_weights)])


@pytest.mark.parametrize("task", SHAPES)
def test_the_oracle_itself_agrees_with_differences_of_its_loss(task: str) -> None:
    _, oracle = pair(task, "tanh")
    inputs, targets = examples(task)
    for weight, gradient in zip(oracle.weights, oracle.gradients(inputs, targets), strict=True):
        for place in [(0,) * weight.ndim, tuple(size - 1 for size in weight.shape)]:
            kept, losses = weight[place], []
            for step in (1e-5, -1e-5):
                weight[place] = kept + step
                losses.append(oracle.loss(inputs, targets))
            weight[place] = kept
            assert gradient[place] == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize(
    ("task", "activation", "size"),
    [
        ("image_classification", "relu", ROWS),
        ("image_classification", "sigmoid", 1),
        ("binary_classification", "tanh", 8),
        ("binary_classification", "relu", 1),
        ("forecasting", "tanh", 8),
        ("forecasting", "sigmoid", ROWS),
    ],
    ids=lambda value: {1: "online", 8: "mini-batches", ROWS: "whole"}.get(value, value),
)
def test_weights_after_gradient_descent(task: str, activation: str, size: int) -> None:
    model, oracle = pair(task, activation)
    inputs, targets = examples(task)
    for start in list(range(0, ROWS, size)) * 5:
        batch = slice(start, start + size)
        expected = oracle.loss(inputs[batch], targets[batch])
        loss = model.train_on_batch(inputs[batch], targets[batch], return_dict=True)["loss"]
        if size == ROWS:  # otherwise Keras returns the mean over the batches so far
            model.reset_metrics()
            assert float(loss) == pytest.approx(expected, rel=1e-5)
        oracle.descend(inputs[batch], targets[batch])
    assert_same(oracle.weights, model.get_weights())


def test_a_whole_training_of_the_pipeline(settings: Any) -> None:
    """The weights are drawn from the seed, the order of an epoch's examples from the seed and the epoch."""
    inputs, targets = examples("image_classification")
    task, signature, family = subject("image_classification", "relu")
    config = settings.with_values(
        {
            "train.seed": SEED,
            "train.epochs": 3,
            "train.batch_size": 5,
            "train.optimizer": "sgd",
            "train.learning_rate": RATE,
            "train.schedule": "constant",
            "train.precision": "float32",
        }
    ).train
    _, oracle = pair("image_classification", "relu")
    losses = []
    for epoch in range(config.epochs):
        order = np.random.default_rng((SEED, epoch)).permutation(ROWS)
        for start in range(0, ROWS, config.batch_size):
            batch = order[start : start + config.batch_size]
            oracle.descend(inputs[batch], targets[batch])
        losses.append(oracle.loss(inputs, targets))
    split = Split(inputs, targets)
    fitting = supervised.SupervisedFitting(task, signature, family, config, train=split, validation=split)
    training = fitting.finish(lambda *_: None)
    assert training.history["val_loss"] == pytest.approx(losses, rel=1e-5)
    assert training.best_epoch == config.epochs
    assert_same(oracle.weights, training.model.get_weights())
