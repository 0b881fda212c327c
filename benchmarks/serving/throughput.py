"""What the server makes of a core: requests a second against onnxruntime alone, side by side.

Each repeat measures everything once, one after the other. One worker runs on one core, the load generator on another.
The bare loop runs the same ONNX file in the same kind of session on the server's core, and does nothing else. One and
two workers on two cores share them with the load generator, whose part is the smaller the more images a request has.
The images are scikit-learn's handwritten digits, most of whose pixels are black as in MNIST.

    apt-get install wrk
    python benchmarks/serving/throughput.py --repository var/models --repeats 3
    python benchmarks/serving/throughput.py --repository var/models --beside ../compact/var/models
"""

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnxruntime
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/support"))
import serving_kit as kit

ROOT = Path(__file__).resolve().parents[2]
SERVER_CORE, LOAD_CORE = 0, 1
SHARED = f"{SERVER_CORE},{LOAD_CORE}"
CONNECTIONS = 32
MANY = 64


def model_file(repository: Path) -> Path:
    """Return the ONNX file of the first champion."""
    champions = sorted(repository.glob("*/champion"))
    if not champions:
        sys.exit(f"{repository} has no champion. Run `make run`, or name another folder with --repository.")
    return champions[0].parent / champions[0].read_text().strip() / "model.onnx"


def bare(file: Path, rows: int, seconds: float) -> float:
    """Return the calls a second of onnxruntime alone, on the server's core."""
    os.sched_setaffinity(0, {SERVER_CORE})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    inputs = {"images": kit.digits()[0][:rows]}
    calls = 0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        session.run(["probabilities"], inputs)
        calls += 1
    os.sched_setaffinity(0, set(range(os.cpu_count() or 1)))
    return calls / seconds


@contextmanager
def serving(repository: Path, workers: int, cores: set[int]) -> Iterator[tuple[str, float, psutil.Process]]:
    """Yield the address of a server on these cores, its seconds until ready, and its process."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "serving", "--repository", str(repository), "--port", "0", "--workers", str(workers)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509  # no threads run yet
    )
    assert process.stdout
    announced = process.stdout.readline()
    seconds = time.perf_counter() - started
    try:
        yield announced.rsplit(" ", 1)[1].strip(), seconds, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def load(address: str, script: Path, seconds: float, connections: int, cores: str) -> dict[str, float]:
    """Return requests a second and latencies in milliseconds, as wrk measures them."""
    command = f"taskset -c {cores} wrk -t1 -c{connections} -d{seconds:g}s --timeout 10s --latency".split()
    done = subprocess.run([*command, "-s", str(script), address], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in done or "Socket errors" in done:
        sys.exit(done)
    found = {name: _milliseconds(value) for name, value in re.findall(r"(?m)^\s+(50%|99%) +(\S+) *$", done)}
    return {"rate": float(re.search(r"Requests/sec:\s+(\S+)", done)[1]), **found}  # type: ignore[index]


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def scripts(folder: Path, model: str) -> dict[str, Path]:
    """Write what wrk sends: one image in JSON, one as bytes behind JSON, 64 as bytes."""
    path = f"/v2/models/{model}/infer"
    images, _ = kit.digits()

    def binary(rows: int) -> tuple[bytes, dict[str, str]]:
        size = {"binary_data_size": rows * 784}
        tensor = {"name": "images", "datatype": "UINT8", "shape": [rows, 28, 28], "parameters": size}
        head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        return head + images[:rows].tobytes(), {"Inference-Header-Content-Length": str(len(head))}

    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 28, 28], "data": images[0].ravel().tolist()}
    bodies: dict[str, tuple[bytes, dict[str, str]]] = {
        "json": (json.dumps({"inputs": [tensor]}).encode(), {"Content-Type": "application/json"}),
        "binary": binary(1),
        "binary 64": binary(MANY),
    }
    return {name: wrk_script(folder / name, path, *body) for name, body in bodies.items()}


def wrk_script(file: Path, path: str, body: bytes, headers: dict[str, str]) -> Path:
    """Write what wrk is to send to `path`: the body, and a script of the same name that says so."""
    content = file.with_suffix(".body")
    content.write_bytes(body)
    lines = [
        'wrk.method = "POST"',
        f'wrk.path = "{path}"',
        f'local file = io.open("{content}", "rb")',
        'wrk.body = file:read("*a")',
        *(f'wrk.headers["{header}"] = "{value}"' for header, value in headers.items()),
    ]
    script = file.with_suffix(".lua")
    script.write_text("\n".join(lines))
    return script


def measure(repository: Path, folder: Path, seconds: float) -> dict[str, float]:
    """Measure everything once."""
    file = model_file(repository)
    model = file.parents[1].name
    sent = scripts(folder, model)
    found = {"bare, 1 image": bare(file, 1, seconds), "bare, 64 images": bare(file, MANY, seconds)}
    both = {SERVER_CORE, LOAD_CORE}
    with serving(repository, 1, {SERVER_CORE}) as (address, ready, process):
        found["start to ready, s"] = ready
        found["resident memory at rest, MB"] = process.memory_info().rss / 1e6
        for name in ("binary", "json"):
            load(address, sent[name], 1, CONNECTIONS, str(LOAD_CORE))
            under = load(address, sent[name], seconds, CONNECTIONS, str(LOAD_CORE))
            found[f"{name}, 32 connections"] = under["rate"]
            found[f"{name}, 32 connections, p99 ms"] = under["99%"]
        found["json, 1 connection, p50 ms"] = load(address, sent["json"], seconds, 1, str(LOAD_CORE))["50%"]
        found["binary, 64 images"] = load(address, sent["binary 64"], seconds, 8, str(LOAD_CORE))["rate"]
        found["resident memory under load, MB"] = process.memory_info().rss / 1e6
    for workers in (1, 2):
        with serving(repository, workers, both) as (address, _, _):
            for name in ("binary", "binary 64"):
                load(address, sent[name], 1, CONNECTIONS, SHARED)
                rate = load(address, sent[name], seconds, CONNECTIONS, SHARED)["rate"]
                found[f"{name}, {workers} on 2 cores"] = rate
    return found


RATIOS: dict[str, tuple[str, str]] = {
    "binary / bare, 1 image": ("binary, 32 connections", "bare, 1 image"),
    "binary / bare, 64 images": ("binary, 64 images", "bare, 64 images"),
    "2 workers / 1 on its core, 1": ("binary, 2 on 2 cores", "binary, 32 connections"),
    "2 workers / 1 on its core, 64": ("binary 64, 2 on 2 cores", "binary, 64 images"),
    "2 workers / 1 on both cores, 1": ("binary, 2 on 2 cores", "binary, 1 on 2 cores"),
    "2 workers / 1 on both cores, 64": ("binary 64, 2 on 2 cores", "binary 64, 1 on 2 cores"),
}


def main() -> None:
    """Run the comparison and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, default=ROOT / "var/models")
    parser.add_argument("--beside", type=Path, help="another repository, measured in turns, and its ratio to the first")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    arguments = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk, which makes the load, is not installed. Install it: apt-get install wrk.")
    repositories = [arguments.repository, *([arguments.beside] if arguments.beside else [])]
    with tempfile.TemporaryDirectory() as folder:
        repeats = [
            [measure(repository, Path(folder), arguments.seconds) for repository in repositories]
            for _ in shown(range(arguments.repeats))
        ]
    print(f"{platform.machine()}, {os.cpu_count()} cores, n = {len(repeats)}, medians")
    columns = [medians(column) for column in zip(*repeats, strict=True)]
    for name, value in columns[0].items():
        others = [f"{column[name]:>10.4g} {column[name] / value:>8.2f}x" for column in columns[1:]]
        print(f"{name:<34} {value:>10.4g}", *others)


def medians(repeats: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the medians of all figures and of the ratios."""
    found = {name: statistics.median(repeat[name] for repeat in repeats) for name in repeats[0]}
    ratios = {
        name: statistics.median(repeat[over] / repeat[under] for repeat in repeats)
        for name, (over, under) in RATIOS.items()
    }
    return found | ratios


def shown(repeats: range) -> Iterator[int]:
    """Yield these, and say how far it is."""
    for repeat in repeats:
        print(f"repeat {repeat + 1} of {len(repeats)}", file=sys.stderr)
        yield repeat


if __name__ == "__main__":
    main()
