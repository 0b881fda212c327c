"""What the tests of the server share: classifiers trained on real digits, model repositories, running servers."""

import gzip
import hashlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np
import onnx
import psutil
import session_guard
import waiting
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from waiting import WAIT_SECONDS

NAME = "digits-classifier"

wait_until = waiting.wait_until


def cached_arrays(name: str, make: Callable[[], Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Return what `make` returns, which a test session computes once."""
    if not session_guard.is_running():
        return list(make())
    folder = session_guard.shared(name, lambda folder: np.savez(folder / "arrays.npz", *make()))
    with np.load(folder / "arrays.npz") as arrays:
        return list(arrays.values())


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's handwritten digits, each 20x20 in a field of 28x28: uint8 [n, 28, 28], labels [n]."""

    def make() -> Sequence[np.ndarray]:
        from sklearn.datasets import load_digits

        data = load_digits()
        images = np.zeros((len(data.images), 28, 28), np.uint8)
        for field, small in zip(images, data.images, strict=True):
            large = Image.fromarray((small * 255 / 16).astype(np.uint8)).resize((20, 20), Image.Resampling.BICUBIC)
            field[4:24, 4:24] = np.asarray(large)
        return images, data.target

    images, labels = cached_arrays("digits", make)
    return images, labels


def mnist(split: str, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the first images of MNIST and their labels; None when MNISTFLOW_MIRRORS names no folder with it."""
    folder = Path(os.environ.get("MNISTFLOW_MIRRORS", "")) / "mnist"
    if not (folder / f"{split}-images-idx3-ubyte.gz").is_file():
        return None
    pixels = gzip.decompress((folder / f"{split}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{split}-labels-idx1-ubyte.gz").read_bytes())
    images = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28)
    return images[:count], np.frombuffer(labels, np.uint8, offset=8)[:count]


@dataclass(frozen=True)
class Classifier:
    """A feed-forward network: weights and biases layer by layer, ReLU between them, softmax at the end."""

    weights: Sequence[np.ndarray]
    biases: Sequence[np.ndarray]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Compute with numpy what the ONNX file computes: float32 [n, classes]."""
        values = images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
        for depth, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            values = values @ weight + bias
            if depth < len(self.weights) - 1:
                values = np.maximum(values, 0)
        values = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(values / values.sum(axis=1, keepdims=True))

    def onnx(self) -> onnx.ModelProto:
        """Return it as the model contract has it: uint8 `images` in, float32 `probabilities` out."""
        nodes = [
            helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["floats", "full"], ["scaled"]),
            helper.make_node("Reshape", ["scaled", "flat"], ["layer0"]),
        ]
        constants = [
            numpy_helper.from_array(np.float32(255), "full"),
            numpy_helper.from_array(np.array([-1, 784], np.int64), "flat"),
        ]
        last = len(self.weights) - 1
        for depth, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            names = (f"layer{depth}", f"weight{depth}", f"bias{depth}")
            nodes.append(helper.make_node("Gemm", names, [f"sum{depth}"]))
            constants += [numpy_helper.from_array(weight, names[1]), numpy_helper.from_array(bias, names[2])]
            if depth < last:
                nodes.append(helper.make_node("Relu", [f"sum{depth}"], [f"layer{depth + 1}"]))
        nodes.append(helper.make_node("Softmax", [f"sum{last}"], ["probabilities"], axis=1))
        graph = helper.make_graph(
            nodes,
            "classifier",
            [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 28, 28])],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", self.biases[-1].size])],
            constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def linear_classifier(images: np.ndarray, labels: np.ndarray, regularisation: float = 1.0) -> Classifier:
    """Fit a softmax regression; another regularisation gives a model with other, equally good, answers."""

    def make() -> Sequence[np.ndarray]:
        from sklearn.linear_model import LogisticRegression

        fitted = LogisticRegression(C=regularisation, max_iter=60).fit(images.reshape(len(images), -1) / 255, labels)
        return fitted.coef_.T.astype(np.float32), fitted.intercept_.astype(np.float32)

    weight, bias = cached_arrays(f"linear-{regularisation}-{_digest(images, labels)}", make)
    return Classifier([weight], [bias])


def fit_network(images: np.ndarray, labels: np.ndarray, units: int = 96, epochs: int = 8) -> Classifier:
    """Fit a network with one hidden layer, good enough for strokes it has never seen."""

    def make() -> Sequence[np.ndarray]:
        from sklearn.neural_network import MLPClassifier

        fitted = MLPClassifier((units,), batch_size=128, max_iter=epochs, random_state=0)
        fitted.fit(images.reshape(len(images), -1).astype(np.float32) / 255, labels)
        return [layer.astype(np.float32) for layer in (*fitted.coefs_, *fitted.intercepts_)]

    first, second, *biases = cached_arrays(f"network-{units}-{epochs}-{_digest(images, labels)}", make)
    return Classifier([first, second], biases)


def _digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]


def untrained(seed: int) -> Classifier:
    """Return a network that knows nothing; another seed gives other answers."""
    generator = np.random.default_rng(seed)
    weights = [generator.normal(scale=0.1, size=shape).astype(np.float32) for shape in ((784, 128), (128, 10))]
    return Classifier(weights, [np.zeros(128, np.float32), np.zeros(10, np.float32)])


def with_external_data(
    model: onnx.ModelProto, location: str, *, as_constant: bool = False
) -> tuple[onnx.ModelProto, bytes]:
    """Return a model that keeps its first weights in a file elsewhere, and what that has to hold.

    The tensor that refers to the file is an initializer, or else the attribute of a Constant.
    """
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "weight0")
    weights = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    if as_constant:
        model.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
        model.graph.initializer.remove(tensor)
    return model, weights


def write_version(
    repository: Path,
    version: int,
    model: onnx.ModelProto | bytes,
    images: np.ndarray,
    probabilities: np.ndarray,
    *,
    name: str = NAME,
    dataset: str = "digits",
    **changes: Any,
) -> Path:
    """Write a version as publishers do, renamed at the end; `changes` replace keys of model.json."""
    content = model if isinstance(model, bytes) else model.SerializeToString()
    temporary = repository / name / f".{version}.tmp"
    temporary.mkdir(parents=True)
    (temporary / "model.onnx").write_bytes(content)
    classes = probabilities.shape[1]
    manifest = {
        "name": name,
        "version": version,
        "task": "image_classification",
        "dataset": dataset,
        "classes": [str(index) for index in range(classes)],
        "inputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, 28, 28]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, classes]}],
        "sha256": hashlib.sha256(content).hexdigest(),
        "data_sha256": hashlib.sha256(images.tobytes()).hexdigest(),
        "metrics": {"accuracy": 0.975},
        "run_id": "0" * 32,
        "git_commit": "0" * 40,
        "created": "2025-01-02T03:04:05Z",
        "mnistflow_version": "0.1.0",
    }
    (temporary / "model.json").write_text(json.dumps(manifest | changes))
    np.savez(temporary / "probe.npz", inputs=images, outputs=probabilities)
    return temporary.rename(repository / name / str(version))


def publish(repository: Path, version: int, classifier: Classifier, images: np.ndarray, **changes: Any) -> Path:
    """Write a sound version of a classifier, with predictions recorded on the first of `images`."""
    probe = images[:16]
    return write_version(repository, version, classifier.onnx(), probe, classifier.probabilities(probe), **changes)


def set_champion(repository: Path, version: int | str, name: str = NAME) -> None:
    """Make a version the champion."""
    replace(repository / name / "champion", f"{version}\n")


def replace(path: Path, text: str) -> None:
    """Write a file so that nobody sees a part of it."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)


def inference_request(images: np.ndarray, **changes: object) -> dict[str, Any]:
    """Return an inference request for these images; `changes` replace keys of its tensor."""
    tensor = {"name": "images", "datatype": "UINT8", "shape": list(images.shape), "data": images.ravel().tolist()}
    return {"inputs": [tensor | changes]}


def processes_of(repository: Path) -> list[psutil.Process]:
    """Return the processes whose command line names a repository: servers, their workers, and what tries versions."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if str(repository) in process.cmdline():
                found.append(process)
    return found


class Server:
    """A server in a process of its own, on a free port; a context manager that stops it."""

    def __init__(self, repository: Path, *arguments: str, command: Sequence[str] = (), **environment: str) -> None:
        command = command or (sys.executable, "-m", "serving")
        self._process = subprocess.Popen(
            [*command, "--repository", str(repository), "--port", "0", "--poll-seconds", "0.05", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self.log: list[str] = []
        self._readers = [
            threading.Thread(target=self._pass_on, args=(self._process.stdout, self._lines.put)),
            threading.Thread(target=self._pass_on, args=(self._process.stderr, self.log.append)),
        ]
        for reader in self._readers:
            reader.start()
        try:
            self.announcement = self._lines.get(timeout=WAIT_SECONDS)
        except queue.Empty:
            self.stop(signal.SIGKILL)
            raise AssertionError(f"the server does not start: {self.log}") from None
        self.url = self.announcement.split()[-1] if self.announcement else ""
        self.client = httpx.Client(base_url=self.url or "http://127.0.0.1", timeout=WAIT_SECONDS)

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and return the exit status."""
        if self._process.poll() is None:
            self._process.send_signal(how)
        status = self._process.wait(timeout=WAIT_SECONDS)
        for reader in self._readers:
            reader.join()
        return status

    def metrics(self) -> str:
        return self.client.get("/metrics").text

    def memory_peak_bytes(self) -> int:
        """Return the largest resident memory so far."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.client.close()
        self.stop()

    def _pass_on(self, stream: Any, put: Any) -> None:
        for line in stream:
            put(line.rstrip("\n"))
        # So that nobody waits for a line of a process that has ended.
        put("")
