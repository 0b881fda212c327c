"""Temperature scaling: overconfident and underconfident probabilities, and the graph that computes them."""

import numpy as np
import pytest

from mnistflow.export import calibration
from mnistflow.tasks.task import Signature
from mnistflow.tasks.temperature import tempered

CLASSES = 10


def answers(temperature: float, count: int = 20_000, seed: int = 0):
    """Probabilities that are right as often as they say, then distorted by a temperature; and the labels."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 3, (count, CLASSES))
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (honest.cumsum(axis=1) > generator.random((count, 1))).argmax(axis=1)
    distorted = np.exp(logits * temperature)
    return (distorted / distorted.sum(axis=1, keepdims=True)).astype(np.float32), labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_temperature_that_distorted_is_found(temperature) -> None:
    assert calibration.fit_temperature(*answers(temperature)) == pytest.approx(temperature, rel=0.05)


def test_a_few_correct_answers_do_not_make_certain() -> None:
    labels = np.arange(20) % CLASSES
    probabilities = np.full((20, CLASSES), 0.01, np.float32)
    probabilities[np.arange(20), labels] = 0.91
    fitted = tempered(probabilities, calibration.fit_temperature(probabilities, labels))
    assert 0.9 < fitted.max() < 0.97


def test_the_order_of_the_classes_stays() -> None:
    probabilities, _ = answers(1.0, count=500)
    for temperature in (0.3, 3.0):
        changed = tempered(probabilities, temperature)
        np.testing.assert_allclose(changed.sum(axis=1), 1, atol=1e-5)
        np.testing.assert_array_equal(changed.argmax(axis=1), probabilities.argmax(axis=1))


def outputs_of(operator: str, images, temperature: float, folder):
    """Outputs of a graph of one operator, from `images` to `probabilities`, at a temperature."""
    from onnx import TensorProto, helper

    from mnistflow.export.export import save
    from mnistflow.runtime import onnx_session

    signature = Signature("images", "float32", (CLASSES,), "probabilities", (CLASSES,))
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, CLASSES]) for name in ("images", "probabilities")
    ]
    node = helper.make_node(operator, ["images"], ["probabilities"])
    graph = helper.make_graph([node], operator, tensors[:1], tensors[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    save(calibration.calibrated(model, signature, temperature), folder / "model.onnx", {})
    return onnx_session.predict(onnx_session.open_session(folder / "model.onnx"), images)


def test_the_graph_computes_the_same(tmp_path) -> None:
    probabilities, _ = answers(1.0, count=200)
    probabilities[0] = [1, *[0] * (CLASSES - 1)]
    outputs = outputs_of("Identity", probabilities, 0.7, tmp_path)
    np.testing.assert_allclose(outputs, tempered(probabilities, 0.7), atol=1e-6)


def test_the_graph_computes_the_same_for_a_network_that_is_far_too_certain(tmp_path) -> None:
    logits = np.random.default_rng(0).normal(0, 15, (200, CLASSES)).astype(np.float32)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    outputs = outputs_of("Softmax", logits, 4.0, tmp_path)
    np.testing.assert_allclose(outputs, tempered(probabilities, 4.0), atol=1e-6)
