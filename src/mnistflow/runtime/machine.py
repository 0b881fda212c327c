"""Machine of a training: what trained weights depend on besides code, data, parameters and seed."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

# Libraries that compute. MLflow, DVC and Prefect only keep what these have computed.
PACKAGES = ("tensorflow", "keras", "scikit-learn", "numpy", "onnx", "tf2onnx", "skl2onnx", "onnxruntime")
CPU_INFO = Path("/proc/cpuinfo")
# Instructions for vectors and matrices: libraries choose their kernels by them.
VECTOR_FLAGS = ("amx", "asimd", "avx", "bf16", "f16c", "fma", "sse4", "sve", "svebf16")


def describe(backend: str) -> dict[str, str]:
    """Return what the weights of a training in this process depend on, by name.

    The processor's class is its model and its vector instructions. Sums are split among threads, one a core, so the
    number of cores counts too.

    Args:
        backend: package of the Keras backend.
    """
    return {
        "python": sys.version.split()[0],
        "cpu": _entry("model name") or platform.processor() or platform.machine(),
        "cpu_flags": " ".join(sorted(flag for flag in _flags() if flag.startswith(VECTOR_FLAGS))),
        "cores": str(len(os.sched_getaffinity(0))),
        **{package: version(package) for package in dict.fromkeys((*PACKAGES, backend))},
    }


def _flags() -> list[str]:
    return (_entry("flags") or _entry("Features")).split()


def _entry(name: str) -> str:
    """Return an entry of the first processor in Linux's list; empty if there is none."""
    if not CPU_INFO.is_file():
        return ""
    for line in CPU_INFO.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
