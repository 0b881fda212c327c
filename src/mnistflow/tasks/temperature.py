"""Temperature of class probabilities: p becomes the softmax of log(p) / T, which is the softmax of logits / T."""

from __future__ import annotations

import numpy as np

from mnistflow.arrays import Array, Outputs

MIN_PROBABILITY = 1e-37  # nearly the smallest of float32: at a high temperature, a larger one would be noticed


def tempered(probabilities: Outputs, temperature: float) -> Outputs:
    """Return probabilities at a temperature: float32 `[n, classes]`."""
    scaled = logits_of(probabilities) / np.float32(temperature)
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), np.float32)


def logits_of(probabilities: Array) -> Array:
    """Return the logarithms of probabilities, which are logits of theirs."""
    return np.asarray(np.log(np.maximum(probabilities, MIN_PROBABILITY)))
