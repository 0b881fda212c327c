"""The server beside a real Triton: the same ONNX file and core, requests that are alike and requests that all differ.

Triton runs the file as the published `config.pbtxt` has it, with dynamic batching, in its Python backend by onnxruntime
with one thread: the wheel that brings it has no other backend. The third row, nginx, answers the same bodies with a
constant, and shows what reading requests and writing answers costs at least. Each server has one core, wrk the other.

Requests that differ have an image, an `id` and a `traceparent` of their own, of 1,024 that take turns. The model is a
small dense network, so that the servers make the difference; --repository serves a champion instead.

    apt-get install wrk nginx-light
    uv venv --python .venv/bin/python var/triton
    uv pip sync --python var/triton --require-hashes tests/conformance/triton.lock
    python benchmarks/serving/triton.py --repeats 5
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import onnxruntime
import psutil
from peers import OURS, TOLERANCE, first_answer, heading, small_network
from throughput import CONNECTIONS, LOAD_CORE, ROOT, SERVER_CORE, load, model_file, serving, shown

sys.path.insert(0, str(ROOT / "tests/support"))
import serving_kit as kit
import triton_server
from cluster import free_port

from mnistflow.paths import Paths

TRITON, FLOOR = "Triton", "nginx, a constant"
FORMATS, KINDS = ("json", "binary"), ("alike", "different")
DIFFERENT = 1024
WARM_UP_SECONDS = 2
NGINX = """
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    server {{
        listen 127.0.0.1:{port};
        location / {{ default_type application/json; return 200 '{answer}'; }}
    }}
}}
"""

Server = Callable[[], AbstractContextManager[tuple[str, psutil.Process]]]


class Figures(NamedTuple):
    """What a server made of one kind of request: its rate, and its processor time for each, in microseconds."""

    rate: float
    microseconds: float


def request(image: np.ndarray, number: int, form: str) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a request for one image, whose length does not depend on `number`."""
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 28, 28]}
    head = {"id": f"request-{number:06}"}
    headers = {"Host": "127.0.0.1", "traceparent": f"00-{number + 1:032x}-{number + 1:016x}-00"}
    if form == "json":
        body = json.dumps({**head, "inputs": [{**tensor, "data": image.ravel().tolist()}]})
        return body.encode(), headers | {"Content-Type": "application/json"}
    described = {**tensor, "parameters": {"binary_data_size": image.size}}
    start = json.dumps({**head, "inputs": [described], "parameters": {"binary_data_output": True}}).encode()
    headers |= {"Inference-Header-Content-Length": str(len(start)), "Content-Type": "application/octet-stream"}
    return start + image.tobytes(), headers


def wrk_script(folder: Path, path: str, requests: Sequence[tuple[bytes, dict[str, str]]]) -> Path:
    """Write the requests, and the script by which wrk sends them in turn; it composes each only once."""
    tables = []
    for number, (body, headers) in enumerate(requests, 1):
        (folder / f"{number}.body").write_bytes(body)
        tables.append("{" + ", ".join(f'["{name}"] = "{value}"' for name, value in headers.items()) + "}")
    lines = [
        f"local headers = {{{', '.join(tables)}}}",
        "local requests = {}",
        "local at = 0",
        "function init()",
        "  for number, fields in ipairs(headers) do",
        f'    local file = io.open("{folder}/" .. number .. ".body", "rb")',
        f'    requests[number] = wrk.format("POST", "{path}", fields, file:read("*a"))',
        "    file:close()",
        "  end",
        "end",
        "function request()",
        "  at = at % #requests + 1",
        "  return requests[at]",
        "end",
    ]
    script = folder / "requests.lua"
    script.write_text("\n".join(lines))
    return script


def processor_seconds(process: psutil.Process) -> float:
    """Return the processor time that a process and its children have taken so far."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def measure(server: Server, path: str, seconds: float) -> dict[tuple[str, str], Figures]:
    """Start a server, check its answer, and send each kind of request in both forms."""
    found = {}
    images = kit.digits()[0]
    with server() as (address, process):
        for form in FORMATS:
            for kind in KINDS:
                count = DIFFERENT if kind == "different" else 1
                with tempfile.TemporaryDirectory() as folder:
                    sent = [request(images[number % len(images)], number, form) for number in range(count)]
                    script = wrk_script(Path(folder), path, sent)
                    load(address, script, WARM_UP_SECONDS, CONNECTIONS, str(LOAD_CORE))
                    before = processor_seconds(process)
                    rate = load(address, script, seconds, CONNECTIONS, str(LOAD_CORE))["rate"]
                    spent = processor_seconds(process) - before
                found[form, kind] = Figures(rate, 1e6 * spent / (rate * seconds))
    return found


@contextmanager
def ours(repository: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Start our server with one worker."""
    with serving(repository, 1, {SERVER_CORE}) as (address, _, process):
        yield address, process


@contextmanager
def triton(package: Path, file: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Start Triton with the folder that a file was published in."""
    with (
        tempfile.TemporaryDirectory() as folder,
        triton_server.running(package, file.parents[1], file.parent.name, Path(folder), {SERVER_CORE}) as (address, it),
    ):
        yield address, psutil.Process(it.pid)


@contextmanager
def nginx(answer: str) -> Iterator[tuple[str, psutil.Process]]:
    """Start nginx with one worker that answers everything with the same text."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        configuration = Path(folder) / "nginx.conf"
        configuration.write_text(NGINX.format(folder=folder, port=port, answer=answer))
        Path(folder).chmod(0o755)  # nginx's worker is another user if this one is root
        command = ["taskset", "-c", str(SERVER_CORE), "nginx", "-c", str(configuration), "-g", "daemon off;"]
        process = subprocess.Popen(command, env=os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin"})
        try:
            address = f"http://127.0.0.1:{port}"
            first_answer(httpx.Request("POST", address, content=b"{}"))
            yield address, psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()


def published(folder: Path) -> Path:
    """Publish a small network with its `config.pbtxt`, and return the repository."""
    paths = Paths(folder, folder)
    small_network(paths.models)
    triton_server.promote(paths, 1)
    return paths.models


def checked_answer(server: Server, path: str, file: Path) -> str:
    """Return the server's JSON answer to the first image, after comparing it with onnxruntime's.

    Raises:
        RuntimeError: the answers differ.
    """
    image = kit.digits()[0][:1]
    body, headers = request(image[0], 0, "json")
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    expected = session.run(["probabilities"], {"images": image})[0]
    with server() as (address, _):
        answer = first_answer(httpx.Request("POST", address + path, content=body, headers=headers))
    if not np.allclose(answer["outputs"][0]["data"], expected.ravel(), atol=TOLERANCE):
        raise RuntimeError(f"wrong answer: {answer}")
    return json.dumps(answer)


def table(repeats: Sequence[dict[str, dict[tuple[str, str], Figures]]]) -> Iterator[str]:
    """Yield the lines of what came of it: medians, and medians of the ratios within each repeat."""
    yield f"{'':<20}{'form':<8}{'requests':<11}{'requests/s':>12}{'us of processor':>17}{'of Triton':>11}"
    for name in repeats[0]:
        for form, kind in repeats[0][name]:
            found = [repeat[name][form, kind] for repeat in repeats]
            rate, microseconds = (statistics.median(values) for values in zip(*found, strict=True))
            ratio = statistics.median(
                repeat[name][form, kind].rate / repeat[TRITON][form, kind].rate for repeat in repeats
            )
            yield f"{name:<20}{form:<8}{kind:<11}{rate:>12,.0f}{microseconds:>17.1f}{ratio:>11.2f}"
    for form in FORMATS:
        share = statistics.median(
            repeat[OURS][form, "different"].rate / repeat[OURS][form, "alike"].rate for repeat in repeats
        )
        yield f"{OURS}, {form}: {share:.2f} of the rate when requests differ"


def main() -> None:
    """Run the comparison and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, help="serve the first champion in there, not a small network")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    arguments = parser.parse_args()
    if not shutil.which("wrk") or not shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin"):
        sys.exit("wrk or nginx is not installed. Install them: apt-get install wrk nginx-light.")
    if (package := triton_server.installed()) is None:
        sys.exit(triton_server.INSTALL)
    with tempfile.TemporaryDirectory() as folder:
        repository = (arguments.repository or published(Path(folder))).resolve()
        file = model_file(repository)
        path = f"/v2/models/{file.parents[1].name}/infer"
        answer = checked_answer(lambda: ours(repository), path, file)
        checked_answer(lambda: triton(package, file), path, file)
        servers: dict[str, Server] = {
            OURS: lambda: ours(repository),
            TRITON: lambda: triton(package, file),
            FLOOR: lambda: nginx(answer),
        }
        repeats = [
            {name: measure(server, path, arguments.seconds) for name, server in servers.items()}
            for _ in shown(range(arguments.repeats))
        ]
    print(heading(len(repeats)))
    print("\n".join(table(repeats)))


if __name__ == "__main__":
    main()
