"""Classical classifiers: the learner that fits scikit-learn's estimators and converts them with skl2onnx.

Two gaps of skl2onnx 1.20 are closed here: it has no converter for the Nyström map, and its converter for boosting
writes booleans into integer attributes, which protobuf 7 rejects.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistflow.arrays import Array, Outputs
from mnistflow.errors import StageError
from mnistflow.learners.config import TrainConfig
from mnistflow.learners.learner import Learner, OnEpoch, Training, measure
from mnistflow.models.classical.classical import Classical
from mnistflow.splits import Dataset
from mnistflow.tasks.task import Signature

if TYPE_CHECKING:
    import onnx

FILE = "estimator.joblib"
BATCH_SIZE = 10_000  # rows converted to float32 at a time, to limit memory
ML_OPSET = 3  # version of operator set `ai.onnx.ml`; supported by onnxruntime since 1.11
PIXEL_SCALE = 256  # a power of two keeps pixels exact, so that float32 and float64 agree at the thresholds of trees


class Estimators(Learner[Classical]):
    """Learner of families that derive from `Classical`. Its models are fitted classifiers of scikit-learn."""

    def fit(
        self,
        data: Dataset,
        family: Classical,
        config: TrainConfig,
        on_epoch: OnEpoch,
        checkpoint_folder: Path | None = None,
    ) -> Training:
        _require_every_class(data)
        started = time.perf_counter()
        with _computing_threads(config.threads):
            estimator = family.estimator(config.seed, threads=config.threads or -1)
            try:
                estimator.fit(_features(data.train.inputs), data.train.targets)
            except ValueError as error:
                raise StageError(f"scikit-learn cannot fit these examples: {error}", "Use more examples.") from error
        seconds = time.perf_counter() - started
        metrics = measure(data, lambda inputs: self.predict(estimator, inputs))
        on_epoch(1, metrics)
        return Training.single_epoch(estimator, metrics, family.count_parameters(estimator), seconds)

    def save(self, model: Any, folder: Path) -> None:
        import joblib

        joblib.dump(model, folder / FILE)

    def load(self, folder: Path) -> Any:
        """Return the saved classifier. joblib executes code from the file, so it must come from this workspace."""
        import joblib

        return joblib.load(folder / FILE)

    def predict(self, model: Any, inputs: Array) -> Outputs:
        parts = [inputs[start : start + BATCH_SIZE] for start in range(0, len(inputs), BATCH_SIZE)]
        return np.concatenate([model.predict_proba(_features(part)) for part in parts]).astype(np.float32)

    def convert(self, model: Any, signature: Signature, opset: int) -> onnx.ModelProto:
        import onnx
        from skl2onnx import convert_sklearn
        from skl2onnx.common.data_types import FloatTensorType, Int64TensorType
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.kernel_approximation import Nystroem

        opsets = {"": opset, "ai.onnx.ml": ML_OPSET}
        width, (classes,) = int(np.prod(signature.input_shape)), signature.output_shape
        classifier = convert_sklearn(
            model,
            initial_types=[("flat", FloatTensorType([None, width]))],
            final_types=[
                ("label", Int64TensorType([None])),
                (signature.output_name, FloatTensorType([None, classes])),
            ],
            options={id(model): {"zipmap": False}},
            target_opset=opsets,
            custom_conversion_functions={
                Nystroem: _convert_nystroem,
                HistGradientBoostingClassifier: _convert_boosting,
            },
            custom_shape_calculators={Nystroem: _nystroem_shape},
        )
        graph = onnx.compose.merge_graphs(
            _flatten(signature, width), classifier.graph, io_map=[("scaled", "flat")], outputs=[signature.output_name]
        )
        return onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid(*entry) for entry in opsets.items()]
        )


def _require_every_class(data: Dataset) -> None:
    """Check that each class has examples: a classifier has one output for each class in its training data."""
    classes = len(data.classes)
    present = len(np.unique(data.train.targets))
    if present < classes:
        raise StageError(
            f"{classes} classes, but the training examples have only {present} of them",
            "Raise prepare.train_limit or tune.train_limit.",
        )


@contextmanager
def _computing_threads(threads: int) -> Iterator[None]:
    """Limit scikit-learn to a number of threads (0 = one per core) and silence its convergence warnings.

    Solvers are stopped early on purpose.
    """
    import joblib
    from threadpoolctl import threadpool_limits

    # Threads instead of processes, which would each receive a copy of all images.
    with threadpool_limits(threads or None), joblib.parallel_config(backend="threading"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _features(inputs: Array) -> Outputs:
    """Return inputs `[n, *input_shape]` as float32 `[n, prod(input_shape)]`; uint8 pixels are scaled to 0 to 1."""
    flat = inputs.reshape(len(inputs), -1).astype(np.float32)
    return flat / np.float32(PIXEL_SCALE) if inputs.dtype == np.uint8 else flat


def _flatten(signature: Signature, width: int) -> onnx.GraphProto:
    """Return the graph of `_features`, with output `scaled`: float32 `[batch, width]`."""
    from onnx import TensorProto, helper, numpy_helper

    pixels = signature.input_dtype == "uint8"
    nodes = [
        helper.make_node("Cast", [signature.input_name], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["numbers", "rows"], ["flattened"]),
        helper.make_node("Div", ["flattened", "scale"], ["scaled"]),
    ]
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(signature.input_dtype))
    return helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info(signature.input_name, dtype, ["batch", *signature.input_shape])],
        [helper.make_tensor_value_info("scaled", TensorProto.FLOAT, ["batch", width])],
        [
            numpy_helper.from_array(np.array([-1, width]), "rows"),
            numpy_helper.from_array(np.float32(PIXEL_SCALE if pixels else 1), "scale"),
        ],
    )


def _nystroem_shape(operator: Any) -> None:
    from skl2onnx.common.data_types import FloatTensorType

    operator.outputs[0].type = FloatTensorType([None, len(operator.raw_operator.components_)])


def _convert_nystroem(scope: Any, operator: Any, container: Any) -> None:
    """Convert the Nyström map to matrix products: squared distances to the components, kernel, normalization."""
    from onnx import TensorProto

    kernel = operator.raw_operator
    components = kernel.components_.astype(np.float32)
    constants = {
        "minus_two_components": -2 * components.T,
        "squares": (components.astype(np.float64) ** 2).sum(axis=1),
        "minus_gamma": np.array([-kernel.gamma]),
        "normalization": kernel.normalization_.T,
    }
    names = {name: scope.get_unique_variable_name(name) for name in constants}
    for name, value in constants.items():
        container.add_initializer(names[name], TensorProto.FLOAT, value.shape, value.astype(np.float32).ravel())

    def add(kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        result = output or scope.get_unique_variable_name(kind.lower())
        container.add_node(kind, list(inputs), [result], name=scope.get_unique_operator_name(kind), **attributes)
        return result

    names["features"] = scope.get_unique_variable_name("features")
    container.add_initializer(names["features"], TensorProto.INT64, [1], [1])
    images = operator.inputs[0].full_name
    norms = add("ReduceSum", add("Mul", images, images), names["features"])
    distances = add("Add", add("Add", add("MatMul", images, names["minus_two_components"]), names["squares"]), norms)
    similarity = add("Exp", add("Mul", distances, names["minus_gamma"]))
    add("MatMul", similarity, names["normalization"], output=operator.outputs[0].full_name)


def _convert_boosting(scope: Any, operator: Any, container: Any) -> None:
    """Convert with skl2onnx's own converter, whose boolean attributes become integers."""
    from skl2onnx.operator_converters.random_forest import convert_sklearn_random_forest_classifier

    convert_sklearn_random_forest_classifier(scope, operator, _IntegerFlags(container))


class _IntegerFlags:
    """Proxy of skl2onnx's container of nodes that converts the flags for missing values to integers."""

    FLAGS = "nodes_missing_value_tracks_true"

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, *arguments: Any, **attributes: Any) -> None:
        flags = [int(flag) for flag in attributes[self.FLAGS]]
        self._container.add_node(*arguments, **{**attributes, self.FLAGS: flags})
