"""A generator of images that needs no training: it adds up patterns at random."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import serving_kit as kit
from onnx import TensorProto, helper, numpy_helper

NAME = "digits-generator"
LATENT, CLASSES = 8, ("zero", "T-shirt/top", "2")
INPUTS = [
    {"name": "latent", "datatype": "FP32", "shape": [-1, LATENT]},
    {"name": "class", "datatype": "INT64", "shape": [-1]},
]
OUTPUT = {"name": "images", "datatype": "UINT8", "shape": [-1, 28, 28]}


def generator() -> bytes:
    """Return an ONNX file that adds up patterns at random: one for the class, and one for each latent value."""
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gather", ["by_class", "class"], ["pattern"]),
        helper.make_node("MatMul", ["latent", "weights"], ["varied"]),
        helper.make_node("Add", ["pattern", "varied"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["shares"]),
        helper.make_node("Mul", ["shares", "white"], ["levels"]),
        helper.make_node("Reshape", ["levels", "shape"], ["shaped"]),
        helper.make_node("Round", ["shaped"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["images"], to=TensorProto.UINT8),
    ]
    constants = {
        "by_class": random.normal(size=(len(CLASSES), 784)).astype(np.float32),
        "weights": random.normal(size=(LATENT, 784)).astype(np.float32),
        "white": np.float32(255),
        "shape": np.array([-1, 28, 28]),
    }
    inputs = [
        helper.make_tensor_value_info("latent", TensorProto.FLOAT, ["batch", LATENT]),
        helper.make_tensor_value_info("class", TensorProto.INT64, ["batch"]),
    ]
    output = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 28, 28])
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "generator", inputs, [output], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def draw(session: onnxruntime.InferenceSession, latent: np.ndarray, labels: Any) -> np.ndarray:
    """Return images for latent vectors and classes."""
    images: np.ndarray = session.run(None, {"latent": latent, "class": np.asarray(labels, np.int64)})[0]
    return images


def publish(repository: Path) -> onnxruntime.InferenceSession:
    """Make it the champion of a repository, and return a session of it."""
    session = onnxruntime.InferenceSession(generator())
    probe = np.empty(16, [("latent", np.float32, (LATENT,)), ("class", np.int64)])
    probe["latent"], probe["class"] = np.random.default_rng(1).normal(size=(16, LATENT)), np.arange(16) % len(CLASSES)
    images = draw(session, np.ascontiguousarray(probe["latent"]), probe["class"])
    changes: dict[str, Any] = {"task": "generation", "classes": CLASSES, "inputs": INPUTS, "outputs": [OUTPUT]}
    kit.write_version(repository, 1, generator(), probe, images, name=NAME, **changes)
    kit.set_champion(repository, 1, NAME)
    return session
