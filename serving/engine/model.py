"""Model: one version, loaded into onnxruntime and checked against its manifest and its recorded predictions."""

import math
import os
import time
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnxruntime

from serving.engine.repository import StoredModel
from serving.errors import InferenceFailedError, InvalidRequestError, ModelRefusedError
from serving.manifest import Manifest
from serving.protocol.request_cache import RequestCache
from serving.protocol.tensors import Array, TensorSpec

IMAGE_TASK = "image_classification"
GENERATION_TASK = "generation"
IMAGE_SHAPE = (28, 28)
PROBE_TOLERANCE = 1e-4
ROUNDING = 1  # of outputs that are integers
READINESS_ROWS = 4
WARM_UP_RUNS = 5
WARM_UP_ROWS = 32
# After a batch of more rows, the session returns its memory; it would keep the peak for good otherwise.
ARENA_ROWS = 64

ONNX_TYPES = {
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
}


class Model:
    """A loaded version. Immutable; `run` may be called from several threads at once.

    Attributes:
        manifest: the content of model.json.
        file_id: of the model.json that it was loaded with, see `ModelRepository.file_id`.
        inputs, outputs: the signature, by name.
        request_cache: of the requests for it.
        classifies_images: whether its input is gray images, uint8 [n, 28, 28], and its output float32 [n, classes].
        generates_images: whether its inputs are latent vectors, float32 [n, size], and classes, int64 [n], and its
            output is gray images, uint8 [n, height, width].
    """

    def __init__(self, stored: StoredModel, slowest_seconds: float = math.inf) -> None:
        """Load, check and warm up.

        Args:
            stored: as read from the repository.
            slowest_seconds: seconds that inference on one row may take.

        Raises:
            ModelRefusedError: onnxruntime does not load it, its signature is not that of the manifest, it does not
                reproduce its recorded predictions, or it is too slow.
        """
        self.manifest = stored.manifest
        self.file_id = stored.file_id
        self.inputs = {spec.name: spec for spec in stored.manifest.inputs}
        self.outputs = {spec.name: spec for spec in stored.manifest.outputs}
        self.request_cache = RequestCache(self.inputs, self.outputs)
        self.classifies_images = _classifies_images(stored.manifest)
        self.generates_images = _generates_images(stored.manifest)
        self._session = _open_session(stored.onnx)
        self._shrinking = onnxruntime.RunOptions()
        self._shrinking.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._check_signature()
        self._probe_inputs, self._probe_outputs = self._checked_probe(stored)
        self._reproduce(len(self._probe_inputs))
        self._check_batching()
        self._seconds_alone, self._seconds_per_row = self._warm_up(slowest_seconds)

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.manifest.name

    @property
    def version(self) -> int:
        """Number of the version."""
        return self.manifest.version

    def run(self, inputs: Mapping[str, Array], outputs: Collection[str]) -> dict[str, Array]:
        """Compute the named outputs; inputs must fit the signature and agree in their first dimension.

        Raises:
            InferenceFailedError: onnxruntime raised an error.
        """
        rows = max(map(len, inputs.values()))
        options = self._shrinking if rows > ARENA_ROWS else None
        try:
            arrays = self._session.run(list(outputs), dict(inputs), options)
        except Exception as error:  # onnxruntime's own errors share no base class
            raise InferenceFailedError(f"{self.name} version {self.version} failed on this input") from error
        return dict(zip(outputs, arrays, strict=True))

    def check(self, inputs: Mapping[str, Array]) -> None:
        """Check the values of inputs that fit the signature.

        Raises:
            InvalidRequestError: a generator has no such class.
        """
        if self.generates_images:
            labels, last = inputs[self.manifest.inputs[1].name], len(self.manifest.classes) - 1
            if labels.min() < 0 or labels.max() > last:
                raise InvalidRequestError(f"{self.manifest.inputs[1].name} must be 0 to {last}")

    def predicted_seconds(self, rows: int) -> float:
        """Return how many seconds `run` will take, from measurements during warm-up."""
        return self._seconds_alone + (rows - 1) * self._seconds_per_row

    def is_ready(self) -> bool:
        """Run the model, and return whether it reproduces its recorded predictions."""
        try:
            self._reproduce(READINESS_ROWS)
        except ModelRefusedError:
            return False
        return True

    def _check_signature(self) -> None:
        found_inputs = [_spec(node) for node in self._session.get_inputs()]
        found_outputs = [_spec(node) for node in self._session.get_outputs()]
        for kind, found, declared in (
            ("inputs", found_inputs, self.manifest.inputs),
            ("outputs", found_outputs, self.manifest.outputs),
        ):
            if tuple(found) != declared:
                raise ModelRefusedError(f"its {kind} are {_described(found)}, in model.json {_described(declared)}")
        if not self.inputs or not self.outputs:
            raise ModelRefusedError("it must have at least one input and one output")

    def _checked_probe(self, stored: StoredModel) -> tuple[Array, Array]:
        inputs, outputs = stored.probe_inputs, stored.probe_outputs
        specs, output_spec = stored.manifest.inputs, stored.manifest.outputs[0]
        found = self._by_name(inputs)
        if found.keys() != self.inputs.keys() or not all(
            found[spec.name].dtype == spec.dtype and spec.accepts(found[spec.name].shape) for spec in specs
        ):
            raise ModelRefusedError(f"the recorded inputs do not fit {_described(specs)}")
        if outputs.dtype != output_spec.dtype or not output_spec.accepts(outputs.shape) or len(inputs) != len(outputs):
            raise ModelRefusedError(
                f"the recorded outputs do not fit {_described([output_spec])} or the recorded inputs"
            )
        return inputs, outputs

    def _reproduce(self, rows: int) -> None:
        try:
            computed = self._compute(self._probe_inputs[:rows])
        except InferenceFailedError as error:
            raise ModelRefusedError("it fails on its recorded inputs") from error
        expected = self._probe_outputs[:rows]
        if not np.all(np.isfinite(computed)) or not _are_close(computed, expected):
            raise ModelRefusedError("it does not reproduce its recorded predictions")

    def _check_batching(self) -> None:
        # Requests of different clients run in one batch, so no row may depend on the others.
        rows = self._probe_inputs[:READINESS_ROWS]
        together = self._compute(rows)
        alone = [self._compute(row[np.newaxis]) for row in rows]
        if not _are_close(together, np.concatenate(alone)):
            raise ModelRefusedError("its predictions depend on the other rows of the batch")

    def _compute(self, inputs: Array) -> Array:
        output = self.manifest.outputs[0].name
        return self.run(self._by_name(inputs), [output])[output]

    def _by_name(self, inputs: Array) -> dict[str, Array]:
        """Return recorded inputs by name: those of a model with several are fields of a structured array `[n]`."""
        fields = inputs.dtype.names
        if fields is None:
            return {self.manifest.inputs[0].name: inputs}
        return {name: np.ascontiguousarray(inputs[name]) for name in fields}

    def _warm_up(self, slowest_seconds: float) -> tuple[float, float]:
        """Return the seconds of one row alone, and of each further row in a batch."""
        alone = self._fastest(self._probe_inputs[:1])
        if alone > slowest_seconds:
            raise ModelRefusedError(
                f"inference on one row takes {alone * 1000:.1f} ms; the limit is {slowest_seconds * 1000:g} ms"
            )
        batch = self._probe_inputs[np.arange(WARM_UP_ROWS) % len(self._probe_inputs)]
        return alone, max(self._fastest(batch) - alone, 0.0) / (WARM_UP_ROWS - 1)

    def _fastest(self, inputs: Array) -> float:
        fastest = float("inf")
        for _ in range(WARM_UP_RUNS):
            start = time.perf_counter()
            self._compute(inputs)
            fastest = min(fastest, time.perf_counter() - start)
        return fastest


def _classifies_images(manifest: Manifest) -> bool:
    image = TensorSpec(manifest.inputs[0].name, "UINT8", (-1, *IMAGE_SHAPE))
    classes = TensorSpec(manifest.outputs[0].name, "FP32", (-1, len(manifest.classes)))
    return manifest.task == IMAGE_TASK and manifest.inputs == (image,) and manifest.outputs == (classes,)


def _generates_images(manifest: Manifest) -> bool:
    kinds = [(spec.datatype, len(spec.shape)) for spec in (*manifest.inputs, *manifest.outputs)]
    sizes = [size for spec in (*manifest.inputs, *manifest.outputs) for size in spec.shape[1:]]
    return (
        manifest.task == GENERATION_TASK
        and kinds == [("FP32", 2), ("INT64", 1), ("UINT8", 3)]
        and min(sizes) > 0
        and bool(manifest.classes)
    )


def _are_close(computed: Array, expected: Array) -> bool:
    tolerance = PROBE_TOLERANCE if computed.dtype.kind == "f" else ROUNDING
    return np.allclose(computed.astype(np.float64), expected.astype(np.float64), rtol=0, atol=tolerance)


def _open_session(onnx: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # Callers run batches concurrently: one thread for each gives the highest throughput, and no thread spins when idle.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # A model loaded from bytes may still refer to external data, relative to the working directory. Relative to a file
    # that is not a folder, nothing is found.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors share no base class
        if "external data" in str(error).lower():
            raise ModelRefusedError("model.onnx keeps weights in external data, it must be self-contained") from error
        raise ModelRefusedError("onnxruntime cannot load model.onnx") from error


def _spec(node: onnxruntime.NodeArg) -> TensorSpec:
    if node.type not in ONNX_TYPES:
        raise ModelRefusedError("model.onnx has an input or output of a type that is not supported")
    shape = tuple(size if isinstance(size, int) and size > 0 else -1 for size in node.shape)
    return TensorSpec(node.name, ONNX_TYPES[node.type], shape)


def _described(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {spec.datatype} {list(spec.shape)}" for spec in specs)
