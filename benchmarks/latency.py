"""Latency of exported networks in onnxruntime on one core, by preset: what one image costs, and each of 64.

A network's latency does not depend on its weights, so nothing is trained: each preset's network is built, exported and
timed as the server runs it, with one thread. Networks take turns, so that other work slows all of them; the figure is
the lowest mean over two calls, and its ratio to the first network. `int8` after a name (`default:int8`) quantizes
convolutions and matrix products, `int8-ends` the first and the last layer too.

    python benchmarks/latency.py default default:int8 fast compact tiny
    python benchmarks/latency.py default -S model.cnn.pooling=stride
"""

import argparse
import os
import platform
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml
from orchestration import ROOT

from mnistflow import config, learners, tasks
from mnistflow.arrays import Array
from mnistflow.export import calibration, normalization, quantization
from mnistflow.export.export import IR_VERSION
from mnistflow.models.networks.network import Network
from mnistflow.runtime import backend

CALLS = 2  # per measurement: so short that some are undisturbed on a busy machine, also those of large networks
MANY = 64
PRECISIONS = ("float32", "int8", "int8-ends")


@dataclass
class Timed:
    """A network in onnxruntime, and the lowest seconds of a call so far, by number of images."""

    name: str
    parameters: int
    file_bytes: int
    session: Any
    seconds: dict[int, float]

    def measure(self, images: Array) -> None:
        """Time some calls with images uint8 `[n, 28, 28]`."""
        self.session.run(None, {"images": images})  # fills the caches, which the other networks have used
        started = time.perf_counter()
        for _ in range(CALLS):
            self.session.run(None, {"images": images})
        seconds = (time.perf_counter() - started) / CALLS
        self.seconds[len(images)] = min(seconds, self.seconds.get(len(images), seconds))


def main() -> None:
    """Build the networks, time them in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=["default", "default:int8", "fast"], help="PRESET[:PRECISION]")
    parser.add_argument("-S", "--set", dest="overrides", action="append", default=[])
    parser.add_argument("--repeats", type=int, default=1000)
    arguments = parser.parse_args()
    backend.load_tensorflow(1)
    images = np.random.default_rng(0).integers(0, 256, (512, 28, 28), np.uint8)
    networks = [built(name, arguments.overrides, images) for name in arguments.names]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for repeat in range(arguments.repeats):
        for network in networks:
            network.measure(images[:1])
            if repeat % 20 == 0:
                network.measure(images[:MANY])
    first = networks[0].seconds
    print(f"{platform.machine()}, one core of {os.cpu_count()}; us for an image alone, and for each of {MANY}")
    print("| network | parameters | kB | 1 image, us | ratio | of 64, us | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for network in networks:
        one, many = network.seconds[1], network.seconds[MANY]
        cells = [network.name, f"{network.parameters:,}", f"{network.file_bytes / 1e3:.0f}", f"{one * 1e6:.1f}"]
        cells += [f"{one / first[1]:.2f}", f"{many / MANY * 1e6:.1f}", f"{many / first[MANY]:.2f}"]
        print("| " + " | ".join(cells) + " |")


def built(name: str, overrides: list[str], images: Array) -> Timed:
    """Return the exported network of a preset, or of the parameters as they are for `default`."""
    import onnxruntime

    preset, _, precision = name.partition(":")
    if (precision or "float32") not in PRECISIONS:
        sys.exit(f"{name}: the precision is none of {', '.join(PRECISIONS)}")
    params = config.load(ROOT / "params.yaml")
    values = {} if preset == "default" else dict(params.preset(preset))
    values |= {key: yaml.safe_load(value) for key, _, value in (setting.partition("=") for setting in overrides)}
    family = params.with_values(values).model.chosen
    assert isinstance(family, Network)
    task = tasks.get("image_classification")
    signature = task.signature((28, 28), tuple("0123456789"))
    network = task.build(family, signature)
    # Biases of zero, as before a training, would be optimized away.
    network.set_weights([weight + 0.1 for weight in network.get_weights()])
    proto = learners.for_family(family).convert(network, signature, params.export.opset)
    normalization.merge_normalizations(proto)
    if precision.startswith("int8"):
        proto = quantization.quantized(proto, signature, images, all_layers=precision == "int8-ends")
    proto = calibration.calibrated(proto, signature, 1.1)
    proto.ir_version = IR_VERSION
    content = proto.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return Timed(name, network.count_params(), len(content), session, {})


if __name__ == "__main__":
    main()
