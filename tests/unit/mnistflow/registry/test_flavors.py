"""Flavours of a model's folder: each loads in MLflow as documented, and all predict the same."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from mnistflow import files, learners, tasks
from mnistflow.config import Config
from mnistflow.export import export
from mnistflow.registry import flavors
from mnistflow.splits import Dataset

pytestmark = pytest.mark.slow

# What docs/how-to/coming-from-mlflow.md shows, in a process that has loaded nothing else.
KERAS = """
import sys, numpy, mlflow
import mnistflow.models.layers.geometry, mnistflow.models.layers.levels
model = mlflow.keras.load_model(sys.argv[1])
numpy.save(sys.argv[3], model.predict(numpy.load(sys.argv[2]), verbose=0))
"""


def save(folder: Path, settings: Config, data: Dataset) -> Path:
    """Write a fitted model with all its flavours, and return its folder."""
    family = settings.model.chosen
    learner, signature = learners.for_family(family), tasks.get(data.task).signature(data.input_shape, data.classes)
    model = learner.fit(data, family, settings.train, lambda *_: None).model
    trained, graph = folder / "trained", folder / "model.onnx"
    trained.mkdir()
    learner.save(model, trained)
    files.write_json(trained / "training.json", {"settings": {"train.backend": settings.train.backend}})
    export.save(learner.convert(model, signature, settings.export.opset), graph, {})
    tensors = Schema([TensorSpec(np.dtype(np.uint8), (-1, *data.input_shape), "images")])
    flavors.save_model(
        str(folder / "model"),
        Model(),
        graph=graph,
        trained=trained,
        model_json={"task": data.task},
        signature=ModelSignature(tensors),
    )
    return folder / "model"


def graph_outputs(folder: Path, images: Any) -> Any:
    return mlflow.pyfunc.load_model(str(folder)).predict({"images": images})["probabilities"]


def test_an_estimator_of_scikit_learn_is_kept(settings: Config, digits: Dataset, tmp_path: Path) -> None:
    folder = save(tmp_path, settings.with_values({"model.family": "forest", "model.forest.trees": 3}), digits)
    images = digits.test.inputs[:20]
    estimator = mlflow.sklearn.load_model(str(folder))
    features = images.reshape(len(images), -1).astype(np.float32) / 256
    assert estimator.predict_proba(features) == pytest.approx(graph_outputs(folder, images), abs=1e-5)
    assert set(Model.load(str(folder)).flavors) == {"onnx", "sklearn", "python_function"}
    assert files.read_json(folder / "model.json") == {"task": digits.task}
    assert files.sha256(folder / "model.onnx") == files.sha256(tmp_path / "model.onnx")
    assert mlflow.onnx.load_model(str(folder)).graph.input[0].name == "images"


@pytest.mark.long
def test_a_network_with_a_layer_of_its_own_loads_in_keras(settings: Config, digits: Dataset, tmp_path: Path) -> None:
    chosen = {"model.family": "cnn", "model.cnn.blocks": [[4]], "model.cnn.geometry": "box", "train.epochs": 1}
    folder = save(tmp_path, settings.with_values(chosen), digits)
    images, sent, received = digits.test.inputs[:20], tmp_path / "images.npy", tmp_path / "outputs.npy"
    np.save(sent, images)
    command = [sys.executable, "-c", KERAS, str(folder), str(sent), str(received)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert np.load(received) == pytest.approx(graph_outputs(folder, images), abs=1e-4)
    assert set(Model.load(str(folder)).flavors) == {"onnx", "keras", "python_function"}
