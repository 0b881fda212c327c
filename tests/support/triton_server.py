"""A real Triton: tritonserver of the wheel `nvidia-pytriton`, whose Python backend runs a published ONNX file."""

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import serving_kit as kit
import waiting
from cluster import free_port

from mnistflow.paths import Paths
from mnistflow.registry.repository import publisher
from mnistflow.registry.versions import Version

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / "var/triton"
INSTALL = (
    f"no Triton in {ENVIRONMENT}. To install it: uv venv --python .venv/bin/python var/triton && "
    "uv pip sync --python var/triton --require-hashes tests/conformance/triton.lock"
)
MODEL = ROOT / "tests/conformance/triton_model.py"


def installed() -> Path | None:
    """Return the package with Triton's server, or None if it is not installed."""
    return next(iter(ENVIRONMENT.glob("lib/python3.*/site-packages/pytriton")), None)


def promote(paths: Paths, number: int) -> None:
    """Make a version of the kit's model the champion as promotions do it, with a `config.pbtxt`."""
    version = Version(
        name=kit.NAME,
        number=number,
        run_id="0" * 32,
        task="image_classification",
        sha256="0" * 64,
        metrics={},
        decision="promote",
        reasons=(),
        verdict_key="",
        aliases=(),
        created_ms=0,
        history=(),
        is_overruled=False,
    )
    publisher.write_champion(paths, version)


@contextmanager
def running(
    package: Path, published: Path, version: str, folder: Path, cores: Collection[int] = ()
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Serve a version of a model in its published folder; yield Triton's address and process.

    Args:
        package: what `installed` returns.
        published: the folder of the model in a model repository.
        folder: an empty one, for a copy of the model and for Triton's log.
        cores: processor cores that Triton may use; empty: all.
    """
    repository = folder / "models"
    shutil.copytree(published, repository / published.name)
    config = repository / published.name / "config.pbtxt"
    # The wheel has no backend for ONNX; nothing else is changed.
    config.write_text(re.sub(r'(?s)platform: .*?backend: "onnxruntime"', 'backend: "python"', config.read_text()))
    shutil.copyfile(MODEL, repository / published.name / version / "model.py")
    server = package / "tritonserver"
    shutil.copytree(server / "backends", folder / "backends")
    python = package.parents[1].name.removeprefix("python")
    stub = "triton_python_backend_stub"
    shutil.copy(server / "python_backend_stubs" / python / stub, folder / "backends/python" / stub)
    port = free_port()
    options = {
        "model-repository": repository,
        "backend-directory": folder / "backends",
        "http-address": "127.0.0.1",
        "http-port": port,
        "allow-grpc": "false",
        "allow-metrics": "false",
    }
    command = [str(server / "bin/tritonserver"), *(f"--{name}={value}" for name, value in options.items())]
    if cores:
        command = ["taskset", "-c", ",".join(map(str, cores)), *command]
    # The backend embeds the Python that the search path names, with the packages of its environment.
    search = {"PATH": f"{ENVIRONMENT}/bin:{os.environ['PATH']}"}
    libraries = {"LD_LIBRARY_PATH": str(package.parent / "nvidia_pytriton.libs")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | search | libraries, cwd=folder)
    address = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            return httpx.get(f"{address}/v2/health/ready").is_success
        except httpx.TransportError:
            return False

    try:
        waiting.wait_until(is_ready)
        yield address, process
    finally:
        process.terminate()
        process.wait()
