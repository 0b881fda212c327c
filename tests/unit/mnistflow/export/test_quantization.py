"""Export to int8: what is quantized, how close the predictions stay, and a loss that is too large."""

import numpy as np
import onnx
import pytest

from mnistflow import learners, tasks
from mnistflow.errors import ParityError, StageError
from mnistflow.export import export, quantization
from mnistflow.pipeline import stages
from mnistflow.runtime import onnx_session

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(settings, digits):
    """A small convolutional network, and its graph in float32."""
    chosen = settings.with_values(
        {"model.family": "cnn", "model.cnn.blocks": [[16], [64]], "train.epochs": 8, "train.batch_size": 16}
    )
    learner = learners.for_family(chosen.model.chosen)
    model = learner.fit(digits, chosen.model.chosen, chosen.train, lambda *_: None).model
    signature = tasks.get(digits.task).signature(digits.input_shape, digits.classes)
    expected = learner.predict(model, digits.test.inputs)
    assert (expected.argmax(axis=1) == digits.test.targets).mean() > 0.5
    return expected, learner.convert(model, signature, 17), signature


def layers_in_int8(graph):
    """Return the shape of the weights of each layer in int8; None for a product of two activations."""
    sources = {output: node.input[0] for node in graph.node for output in node.output}
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    dequantized = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    layers = [node for node in graph.node if node.op_type in quantization.OPERATORS]
    return [shapes.get(sources[node.input[1]]) for node in layers if node.input[1] in dequantized]


def test_predictions_in_int8_stay_close(settings, digits, trained, tmp_path) -> None:
    expected, proto, signature = trained
    inner, whole = (
        quantization.quantized(proto, signature, digits.validation.inputs, all_layers=each) for each in (False, True)
    )
    assert layers_in_int8(inner.graph) == [(64, 16, 3, 3)]
    assert layers_in_int8(whole.graph) == [(16, 1, 5, 5), (64, 16, 3, 3), (64, 10)]
    assert any(tensor.data_type == onnx.TensorProto.INT8 for tensor in inner.graph.initializer)
    config = settings.export.model_copy(update={"precision": "int8", "max_disagreement": 0.05})
    export.save(inner, tmp_path / "model.onnx", {})
    parity = export.check_parity(tasks.get(digits.task), expected, tmp_path / "model.onnx", digits, config)
    assert parity.disagreements <= 0.05 * parity.rows
    one, many = (onnx_session.predict(session(tmp_path), digits.test.inputs[:count])[0] for count in (1, 9))
    np.testing.assert_allclose(one, many, atol=1e-6)


@pytest.mark.parametrize("geometry", ["box", "upright"])
def test_normalization_of_images_stays_in_float32(settings, digits, geometry) -> None:
    chosen = settings.with_values(
        {"model.family": "cnn", "model.cnn.blocks": [[16], [64]], "model.cnn.geometry": geometry}
    )
    task = tasks.get(digits.task)
    signature = task.signature(digits.input_shape, digits.classes)
    network = task.build(chosen.model.chosen, signature)
    proto = learners.for_family(chosen.model.chosen).convert(network, signature, 17)
    inner, whole = (
        quantization.quantized(proto, signature, digits.validation.inputs, all_layers=each) for each in (False, True)
    )
    assert len(layers_in_int8(inner.graph)) == 1
    assert len(layers_in_int8(whole.graph)) == 3
    assert None not in layers_in_int8(whole.graph)


@pytest.mark.parametrize(
    ("family", "all_layers", "problem"),
    [
        ("linear", False, "no layer with weights other than the first and the last one, which stay in float32"),
        ("rnn", True, "does not make the model smaller"),
    ],
)
def test_int8_that_gains_nothing_is_refused(settings, digits, family, all_layers, problem) -> None:
    chosen = settings.with_values({"model.family": family})
    task = tasks.get(digits.task)
    signature = task.signature(digits.input_shape, digits.classes)
    proto = learners.get("keras").convert(task.build(chosen.model.chosen, signature), signature, 17)
    with pytest.raises(StageError, match=problem):
        quantization.quantized(proto, signature, digits.validation.inputs, all_layers=all_layers)


def test_support_vectors_are_quantized_and_trees_are_refused(paths, settings, capfd) -> None:
    common = {
        "tune.trials": 0,
        "export.precision": "int8",
        "export.quantize_ends": True,
        "export.max_disagreement": 1.0,
    }
    chosen = settings.with_values({**common, "model.family": "svm", "model.svm.components": 50})
    for stage in ("tune", "train", "export"):
        stages.run(stage, paths, chosen)
    assert layers_in_int8(onnx.load(paths.exported / "model.onnx").graph)
    chosen = settings.with_values({**common, "model.family": "tree"})
    for stage in ("tune", "train"):
        stages.run(stage, paths, chosen)
    with pytest.raises(StageError, match="nothing to quantize"):
        stages.run("export", paths, chosen)
    assert "onnxruntime" not in capfd.readouterr().err


def session(folder):
    return onnx_session.open_session(folder / "model.onnx")


def test_int8_that_changes_too_much_is_refused(settings, digits, trained, tmp_path) -> None:
    expected, proto, _ = trained
    export.save(proto, tmp_path / "model.onnx", {})
    config = settings.export.model_copy(update={"precision": "int8"})

    def check(changed: int, quantize_ends: bool) -> None:
        wrong = expected.copy()
        wrong[:changed] = np.roll(expected[:changed], 1, axis=1)
        chosen = config.model_copy(update={"quantize_ends": quantize_ends})
        export.check_parity(tasks.get(digits.task), wrong, tmp_path / "model.onnx", digits, chosen)

    check(1, quantize_ends=False)  # of 360, 0.2 % is less than one
    with pytest.raises(
        ParityError, match=r"int8 changes 2 of 360 .*\(allowed: 1\)\. Raise export\.max_disagreement, or"
    ):
        check(2, quantize_ends=False)
    with pytest.raises(ParityError, match=r"Leave the first and the last layer in float32"):
        check(2, quantize_ends=True)
