"""Neural networks: fitted by Keras, exported by tf2onnx.

tf2onnx converts a `tf.function` with a named signature: its `from_keras` does not know Keras 3.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistflow import tasks
from mnistflow.arrays import Array, Outputs
from mnistflow.learners import fitting
from mnistflow.learners.config import TrainConfig
from mnistflow.learners.learner import Learner, OnEpoch, Training
from mnistflow.models.family import Network
from mnistflow.runtime import backend
from mnistflow.runtime.batches import JUDGED, batches, prefetched
from mnistflow.runtime.tensorflow_import import import_tensorflow
from mnistflow.splits import Dataset
from mnistflow.tasks.task import Signature

if TYPE_CHECKING:
    import keras
    import onnx

logger = logging.getLogger(__name__)

FILE = "model.keras"


class Networks(Learner[Network]):
    """Its models are Keras models."""

    def require(self, family: Network, config: TrainConfig) -> None:
        backend.require(config.backend)

    def prepare(self, config: TrainConfig) -> None:
        backend.use(config.backend)
        backend.load_tensorflow(config.threads)

    def max_epochs(self, config: TrainConfig) -> int:
        return config.epochs

    def fit(
        self, data: Dataset, family: Network, config: TrainConfig, on_epoch: OnEpoch, journal: Path | None = None
    ) -> Training:
        backend.use(config.backend)
        import keras

        keras.backend.clear_session()
        task = tasks.get(data.task)
        signature = task.signature(data.input_shape, data.classes)
        return fitting.fit(task, signature, family, config, data.train, data.validation, on_epoch, journal)

    def save(self, model: keras.Model, folder: Path) -> None:
        model.save(folder / FILE)

    def load(self, folder: Path) -> keras.Model:
        backend.use(backend.DEFAULT)  # whatever trained the model
        import_tensorflow()
        import keras

        from mnistflow.models.geometry import Geometry

        # Without its optimizer, a class of the backend that may not be installed.
        return keras.models.load_model(folder / FILE, custom_objects={"Geometry": Geometry}, compile=False)

    def predict(self, model: keras.Model, inputs: Array) -> Outputs:
        outputs: Outputs = model.predict(prefetched(batches(inputs, size=JUDGED)), verbose=0)
        return outputs

    def convert(self, model: keras.Model, signature: Signature, opset: int) -> onnx.ModelProto:
        import tensorflow as tf
        import tf2onnx

        specification = tf.TensorSpec([None, *signature.input_shape], signature.input_dtype, name=signature.input_name)

        def compute(inputs: Any) -> dict[str, Any]:
            return {signature.output_name: model(inputs, training=False)}

        function = tf.function(compute, input_signature=[specification])
        proto, _ = tf2onnx.convert.from_function(function, input_signature=[specification], opset=opset)
        loops = [node.name for node in proto.graph.node if node.op_type == "Loop"]
        if loops:
            logger.warning("the graph holds %d Loop nodes: each call will be several times slower", len(loops))
        return proto
