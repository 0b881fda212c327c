"""The server beside MLServer, BentoML, LitServe and `mlflow models serve`: the same model, image, cores and load.

Each repeat measures everything once, one after the other. One worker runs on one core, wrk on another; a request is
one image as JSON, a handwritten digit of scikit-learn's. Before a server is measured, its answer has to be that of
onnxruntime. Without --repository the model is a small dense network, so that what is compared is the servers and not
the model behind them; the first row is onnxruntime alone, the most that a server that batches nothing could reach on
its core.

Each peer has an environment of its own in var/peers, made at the first run, and is set up as its documents recommend
for many small requests to one worker. All have uvloop and httptools, open the model with one thread that does not spin,
log no requests, and take the pixels in the form of JSON that is cheapest for them:

    MLServer   parallel_workers=0: a second process for inference would share the core. No gzip, metrics, debugging.
    BentoML    workers=1; the method is a coroutine, which spares it a thread; no metrics.
    LitServe   workers_per_device=1; fast_queue, which is for more than 100 requests/s. It always has two processes.
    mlflow     the `onnx` flavour; --workers 1, --env-manager local.

Batching stays off for all of them, as it is by default.

    apt-get install wrk
    python benchmarks/serving/peers.py --repeats 3
    python benchmarks/serving/peers.py --repeats 3 --repository var/models
"""

import argparse
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
from throughput import CONNECTIONS, LOAD_CORE, ROOT, SERVER_CORE, bare, load, model_file, serving, shown, wrk_script

sys.path.insert(0, str(ROOT / "tests/support"))
import serving_kit as kit
from cluster import free_port

from serving.protocol.pixels import IS_COMPILED

SERVICES = Path(__file__).parent / "peer_services"
ENVIRONMENTS = ROOT / "var/peers"
FOR_ALL = ("onnxruntime==1.31.0", "uvicorn[standard]==0.54.0")
OURS, ALONE = "mnistflow", "onnxruntime alone"
START_SECONDS = 120
STOP_SECONDS = 10
WARM_UP_SECONDS = 2
TOLERANCE = 1e-5

Figures = dict[str, float]
DELAYS = {"p50": 9, "p99": 9, "p50 of one": 22}  # how wide each is printed


@dataclass(frozen=True)
class Question:
    """How a server is asked: where, with what JSON, and what of its JSON are the probabilities."""

    path: str
    body: object
    probabilities: Callable[[Any], Any]


@dataclass(frozen=True)
class Peer:
    """How a server is installed, started and asked; {port}, {other_port}, {folder} and {services} are filled in."""

    requirements: Sequence[str]
    command: str
    ask: Callable[[np.ndarray], Question]
    variables: Mapping[str, str] = field(default_factory=dict)
    prepare: str = ""


PEERS = {
    "MLServer": Peer(
        ["mlserver==1.7.1"],
        "mlserver start {folder}",
        lambda image: Question(
            "/v2/models/classifier/infer", kit.inference_request(image), lambda answer: answer["outputs"][0]["data"]
        ),
        {
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_HTTP_PORT": "{port}",
            "MLSERVER_GRPC_PORT": "{other_port}",
            "MLSERVER_METRICS_ENDPOINT": "",
            "MLSERVER_PARALLEL_WORKERS": "0",
            "MLSERVER_GZIP_ENABLED": "false",
            "MLSERVER_DEBUG": "false",
            "MLSERVER_MODEL_NAME": "classifier",
            "MLSERVER_MODEL_IMPLEMENTATION": "mlserver_model.Classifier",
        },
    ),
    "BentoML": Peer(
        ["bentoml==1.4.39"],
        "bentoml serve bentoml_service:Classifier --working-dir {services} --host 127.0.0.1 --port {port}",
        lambda image: Question("/predict", {"images": image.ravel().tolist()}, lambda answer: answer),
        {"BENTOML_DO_NOT_TRACK": "true"},
    ),
    "LitServe": Peer(
        ["litserve==0.2.19"],
        "python {services}/litserve_server.py {port}",
        lambda image: Question("/predict", {"images": image.ravel().tolist()}, lambda answer: answer["probabilities"]),
    ),
    "mlflow models serve": Peer(
        ["mlflow==3.17.2", "onnx==1.23.0"],
        "mlflow models serve --model-uri {folder}/model --env-manager local --workers 1 --host 127.0.0.1 --port {port}",
        lambda image: Question(
            "/invocations", {"inputs": image.tolist()}, lambda answer: answer["predictions"]["probabilities"]
        ),
        {"MLFLOW_DISABLE_TELEMETRY": "true", "UVICORN_ACCESS_LOG": "false"},
        prepare="python {services}/mlflow_model.py {folder}/model",
    ),
}


@dataclass(frozen=True)
class Comparison:
    """What every server serves, and what it has to answer."""

    repository: Path
    file: Path
    image: np.ndarray
    probabilities: np.ndarray
    seconds: float

    @classmethod
    def of(cls, repository: Path, seconds: float) -> "Comparison":
        file = model_file(repository)
        image = kit.digits()[0][:1]
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        return cls(repository, file, image, session.run(["probabilities"], {"images": image})[0], seconds)

    def ours(self) -> Figures:
        model = self.file.parents[1].name
        answered = PEERS["MLServer"].ask(self.image)
        question = Question(f"/v2/models/{model}/infer", answered.body, answered.probabilities)
        with serving(self.repository, 1, {SERVER_CORE}) as (address, _, _):
            return self._measure(address, question)

    def theirs(self, peer: Peer, environment: Path) -> Figures:
        with running(peer, environment, self.file) as address:
            return self._measure(address, peer.ask(self.image))

    def _measure(self, address: str, question: Question) -> Figures:
        sent = httpx.Request("POST", address + question.path, json=question.body)
        given = question.probabilities(first_answer(sent))
        if not np.allclose(np.ravel(given), self.probabilities.ravel(), atol=TOLERANCE):
            raise RuntimeError(f"wrong answer: {given}")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "sent"
            script = wrk_script(file, question.path, sent.content, {"Content-Type": "application/json"})
            load(address, script, WARM_UP_SECONDS, CONNECTIONS, str(LOAD_CORE))
            many = load(address, script, self.seconds, CONNECTIONS, str(LOAD_CORE))
            one = load(address, script, self.seconds, 1, str(LOAD_CORE))
        return {"rate": many["rate"], "p50": many["50%"], "p99": many["99%"], "p50 of one": one["50%"]}


def install(name: str, peer: Peer) -> Path:
    """Return a peer's environment, made now unless it is there already."""
    environment: Path = ENVIRONMENTS / name.split(maxsplit=1)[0].lower()
    requirements = [*peer.requirements, *FOR_ALL]
    made = environment / "requirements.txt"
    if not made.is_file() or made.read_text().split() != requirements:
        print(f"installing {name}", file=sys.stderr)
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, environment], check=True)
        python = environment / "bin/python"
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *requirements], check=True)
        made.write_text("\n".join(requirements))
    return environment


@contextmanager
def running(peer: Peer, environment: Path, file: Path) -> Iterator[str]:
    """Yield the address of a peer that has just been started on the server's core."""
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w") as log:
        known = {"port": free_port(), "other_port": free_port(), "folder": folder, "services": SERVICES}
        variables = {
            "PATH": f"{environment}/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(SERVICES),
            "MODEL_FILE": str(file),
            **{name: value.format(**known) for name, value in peer.variables.items()},
        }

        def start(command: str) -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [part.format(**known) for part in command.split()],
                cwd=folder,
                env=os.environ | variables,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}),  # noqa: PLW1509  # no threads run yet
            )

        if peer.prepare and start(peer.prepare).wait():
            raise RuntimeError((Path(folder) / "log").read_text())
        process = start(peer.command)
        try:
            yield f"http://127.0.0.1:{known['port']}"
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a peer with all the processes that it has started; not every one of them would do so itself."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
            process.wait(STOP_SECONDS)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def first_answer(request: httpx.Request) -> Any:
    """Ask a server that is starting until it answers."""
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(timeout=START_SECONDS) as client:
        while True:
            try:
                return client.send(request).raise_for_status().json()
            except httpx.HTTPError as error:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"no answer: {error}") from error
                time.sleep(0.2)


def repeat(comparison: Comparison, environments: Mapping[str, Path]) -> dict[str, Figures]:
    """Measure everything once."""
    found = {ALONE: {"rate": bare(comparison.file, 1, comparison.seconds)}, OURS: comparison.ours()}
    return found | {name: comparison.theirs(PEERS[name], where) for name, where in environments.items()}


def table(repeats: Sequence[dict[str, Figures]]) -> Iterator[str]:
    """Yield the lines of what came of it: medians, and medians of the ratios within each repeat."""
    yield f"{'':<20}{'requests/s':>12}{'mnistflow, x':>14}{'p50 ms':>9}{'p99 ms':>9}{'p50 ms, 1 connection':>22}"
    for name, figures in repeats[0].items():
        middle = {key: statistics.median(found[name][key] for found in repeats) for key in figures}
        ratio = statistics.median(found[OURS]["rate"] / found[name]["rate"] for found in repeats)
        delays = "".join(f"{middle[key]:>{width}.2f}" for key, width in DELAYS.items() if key in middle)
        yield f"{name:<20}{middle['rate']:>12,.0f}{ratio:>14.2f}{delays}"
    peers = [name for name in repeats[0] if name in PEERS]
    for key, words in {"p99": "p99", "p50 of one": "p50 of one connection"}.items():
        share = statistics.median(found[OURS][key] / min(found[name][key] for name in peers) for found in repeats)
        yield f"mnistflow's {words}: {share:.2f} of the best peer's"


def environments(names: Sequence[str]) -> dict[str, Path]:
    """Install these peers, and say which of them cannot be."""
    made = {}
    for name in names:
        try:
            made[name] = install(name, PEERS[name])
        except subprocess.CalledProcessError:
            print(f"{name} cannot be installed here, so it is left out", file=sys.stderr)
    return made or sys.exit("no peer is left to compare with")


def small_network(repository: Path) -> Path:
    """Publish a network of 784, 128 and 10 units, and return the repository."""
    kit.publish(repository, 1, kit.untrained(0), kit.digits()[0][:16])
    kit.set_champion(repository, 1)
    return repository


def heading(repeats: int) -> str:
    """Return the lines above a table of medians: on what machine, and how."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {CONNECTIONS} connections, n = {repeats}, medians"
    return f"{machine}\n{OURS} reads pixels in {'C' if IS_COMPILED else 'Python'}"


def main() -> None:
    """Install what is missing, run the comparison and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, help="serve the first champion in there, not a small network")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    arguments = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk, which makes the load, is not installed. Install it: apt-get install wrk.")
    installed = environments(arguments.peers)
    with tempfile.TemporaryDirectory() as folder:
        repository = arguments.repository or small_network(Path(folder))
        comparison = Comparison.of(repository.resolve(), arguments.seconds)
        repeats = [repeat(comparison, installed) for _ in shown(range(arguments.repeats))]
    print(heading(len(repeats)))
    print("\n".join(table(repeats)))


if __name__ == "__main__":
    main()
