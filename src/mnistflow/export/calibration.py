"""Temperature scaling: probabilities that are as high as the share of correct predictions, computed in the ONNX graph.

Probabilities p become the softmax of log(p) / T, which is temperature scaling of the logits (Guo et al.,
arXiv:1706.04599) and needs no access to them. Predictions stay the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mnistflow.arrays import Array, Outputs
from mnistflow.tasks.task import Signature
from mnistflow.tasks.temperature import MIN_PROBABILITY, logits_of

if TYPE_CHECKING:
    import onnx

LOWEST, HIGHEST = 0.25, 4.0  # temperatures


def fit_temperature(probabilities: Outputs, labels: Array) -> float:
    """Return the temperature with the smallest cross-entropy.

    The target of the correct class is (n + 1) / (n + 2) and not 1, as in Platt (Advances in Large Margin Classifiers,
    1999), so that a few examples that are all predicted correctly do not ask for certainty.

    Args:
        probabilities: of held-out examples, float32 `[n, classes]`.
        labels: their class indices, `[n]`.
    """
    from scipy.optimize import minimize_scalar

    count, classes = probabilities.shape
    doubt = 1 / (count + 2)
    targets = np.full((count, classes), doubt / max(classes - 1, 1))
    targets[np.arange(count), labels] = 1 - doubt
    logits = logits_of(probabilities.astype(np.float64))

    def cross_entropy(logarithm: float) -> float:
        scaled = logits / np.exp(logarithm)
        largest = scaled.max(axis=1)
        normalizer = largest + np.log(np.exp(scaled - largest[:, None]).sum(axis=1))
        return float((normalizer - (targets * scaled).sum(axis=1)).mean())

    found = minimize_scalar(cross_entropy, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    return round(float(np.exp(found.x)), 4)


def calibrated(model: onnx.ModelProto, signature: Signature, temperature: float) -> onnx.ModelProto:
    """Return a graph whose outputs are those of a model at a temperature.

    Args:
        model: graph with one output, probabilities `[batch, classes]`.
        signature: of the model.
        temperature: 1 changes nothing.
    """
    from onnx import compose, helper, numpy_helper

    inner = compose.add_prefix(model, "uncalibrated/").graph
    *others, last = inner.node
    probabilities = inner.output[0].name
    if last.op_type == "Softmax" and last.output[0] == probabilities:
        body, logits = others, last.input[0]
    else:  # such as the mean of an ensemble
        logits = "logarithms"
        body = [
            *inner.node,
            helper.make_node("Max", [probabilities, "smallest"], ["positive"]),
            helper.make_node("Log", ["positive"], [logits]),
        ]
    constants = {"smallest": np.float32(MIN_PROBABILITY), "temperature": np.float32(temperature)}
    nodes = [
        helper.make_node("Identity", [signature.input_name], [inner.input[0].name]),
        *body,
        helper.make_node("Div", [logits, "temperature"], ["scaled"]),
        helper.make_node("Softmax", ["scaled"], [signature.output_name], axis=1),
    ]
    used = {name for node in nodes for name in node.input}
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    initializers = [tensor for tensor in (*initializers, *inner.initializer) if tensor.name in used]
    graph = helper.make_graph(nodes, "calibrated", model.graph.input, model.graph.output, initializers)
    return helper.make_model(graph, opset_imports=model.opset_import)
