"""Neural networks: the learner that trains Keras models and converts them with tf2onnx.

tf2onnx's `from_keras` does not support Keras 3, so a `tf.function` with a named signature is converted instead.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistflow import tasks
from mnistflow.arrays import Array, Outputs
from mnistflow.learners import distillation, online, warm_start
from mnistflow.learners.config import LearningConfig, TrainConfig
from mnistflow.learners.fitting import supervised
from mnistflow.learners.fitting.epoch import EpochPlan
from mnistflow.learners.learner import Learner, OnEpoch, Training
from mnistflow.models.networks.network import Network
from mnistflow.runtime import backend
from mnistflow.runtime.batches import EVAL_BATCH_SIZE, batches, prefetched
from mnistflow.runtime.tensorflow_import import import_tensorflow
from mnistflow.splits import Dataset
from mnistflow.tasks.task import Signature

if TYPE_CHECKING:
    import keras
    import onnx

logger = logging.getLogger(__name__)

FILE = "model.keras"


class Networks(Learner[Network]):
    """Learner of families that derive from `Network`. Its models are Keras models."""

    def require(self, family: Network, config: TrainConfig) -> None:
        backend.require(config.backend)

    def pin(self, config: LearningConfig, dataset: str) -> dict[str, Any]:
        return {**warm_start.pin(config, dataset), **distillation.pin(config.train.distillation, dataset)}

    def prepare(self, config: TrainConfig) -> None:
        backend.use(config.backend)
        backend.load_tensorflow(config.threads)

    def max_epochs(self, config: TrainConfig) -> int:
        return config.epochs

    def effective(self, config: TrainConfig, examples: int) -> dict[str, Any]:
        plan = EpochPlan.of(config, examples)
        return {**plan.parameters(), "train.augmentation": round(plan.augmentation, 3)}

    def fit(
        self,
        data: Dataset,
        family: Network,
        config: TrainConfig,
        on_epoch: OnEpoch,
        checkpoint_folder: Path | None = None,
    ) -> Training:
        backend.use(config.backend)
        import keras

        keras.backend.clear_session()
        task = tasks.get(data.task)
        signature = task.signature(data.input_shape, data.classes)
        teacher = distillation.teacher(config.distillation, data)
        begin = partial(supervised.SupervisedFitting, task, signature, family, teacher=teacher)
        if config.online:
            return online.fit(data, config, begin=begin, on_epoch=on_epoch, checkpoint_folder=checkpoint_folder)
        if config.warm_start is not None:
            return warm_start.fit(
                data,
                config,
                config.warm_start,
                build=partial(task.build, family, signature),
                predict=self.predict,
                begin=begin,
                on_epoch=on_epoch,
                checkpoint_folder=checkpoint_folder,
            )
        fitting = begin(config, train=data.train, validation=data.validation, checkpoint_folder=checkpoint_folder)
        return fitting.finish(on_epoch)

    def save(self, model: keras.Model, folder: Path) -> None:
        """Write a copy that is not compiled: whoever loads it need not know the loss that it was trained with."""
        import keras

        copy = keras.Model.from_config(model.get_config())
        copy.set_weights(model.get_weights())
        copy.save(folder / FILE)

    def load(self, folder: Path) -> keras.Model:
        """Return the saved model on the default backend, whichever trained it."""
        backend.use(backend.DEFAULT)
        import_tensorflow()
        import keras

        from mnistflow.models.layers.geometry import Geometry
        from mnistflow.models.layers.levels import Levels

        layers = {"Geometry": Geometry, "Levels": Levels}
        # Without its optimizer, whose class may belong to a backend that is not installed.
        return keras.models.load_model(folder / FILE, custom_objects=layers, compile=False)

    def predict(self, model: keras.Model, inputs: Array) -> Outputs:
        outputs: Outputs = model.predict(prefetched(batches(inputs, size=EVAL_BATCH_SIZE)), verbose=0)
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
            logger.warning("the ONNX graph has %d Loop nodes, which make inference several times slower", len(loops))
        return proto
