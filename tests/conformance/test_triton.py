"""`config.pbtxt` is the configuration that our server reports, and by it a real Triton gives the same answers."""

import concurrent.futures
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
import serving_kit as kit
import waiting
from cluster import free_port
from google.protobuf import json_format, text_format

from mnistflow.paths import Paths
from mnistflow.registry import publisher
from mnistflow.registry.versions import Version
from serving.protocol import inference_pb2 as pb

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONFIG = f"/v2/models/{kit.NAME}/config"
ENVIRONMENT = ROOT / "var/triton"
INSTALL = (
    f"no Triton in {ENVIRONMENT}. To install it: uv venv --python .venv/bin/python var/triton && "
    "uv pip sync --python var/triton --require-hashes tests/conformance/triton.lock"
)


@pytest.fixture(scope="module")
def published(tmp_path_factory, images, classifiers) -> Path:
    """A model repository with two versions, of which the second was made the champion as promotions do it."""
    folder = tmp_path_factory.mktemp("checkout")
    paths = Paths(folder, folder)
    for number, classifier in classifiers.items():
        kit.publish(paths.models, number, classifier, images)
    publisher.serve(paths, version(2))
    return paths.models


def version(number: int) -> Version:
    return Version(
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


@pytest.fixture(scope="module")
def ours(published) -> Iterator[tuple[kit.Server, int]]:
    port = free_port()
    with kit.Server(published, "--grpc-port", str(port)) as server:
        yield server, port


def test_the_configuration_file_is_what_the_server_answers(published, ours) -> None:
    server, port = ours
    written = text_format.Parse((published / kit.NAME / "config.pbtxt").read_text(), pb.ModelConfig())
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelConfig",
            request_serializer=pb.ModelConfigRequest.SerializeToString,
            response_deserializer=pb.ModelConfigResponse.FromString,
        )
        answered = call(pb.ModelConfigRequest(name=kit.NAME), timeout=waiting.WAIT_SECONDS).config

    assert answered == written
    assert json_format.ParseDict(server.client.get(CONFIG).json(), pb.ModelConfig()) == written


@dataclass(frozen=True)
class Triton:
    """A Triton server that runs."""

    client: httpx.Client


@pytest.fixture(scope="module")
def triton(published, tmp_path_factory) -> Iterator[Triton]:
    package = next(iter(ENVIRONMENT.glob("lib/python3.*/site-packages/pytriton")), None)
    if package is None:
        pytest.skip(INSTALL)
    folder = tmp_path_factory.mktemp("triton")
    repository = folder / "models"
    shutil.copytree(published, repository)
    config = repository / kit.NAME / "config.pbtxt"
    # The wheel has no backend for ONNX; nothing else is changed.
    config.write_text(re.sub(r'(?s)platform: .*?backend: "onnxruntime"', 'backend: "python"', config.read_text()))
    shutil.copyfile(ROOT / "tests/conformance/triton_model.py", repository / kit.NAME / "2/model.py")
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
    # The backend embeds the Python that the search path names, with the packages of its environment.
    search = {"PATH": f"{ENVIRONMENT}/bin:{os.environ['PATH']}"}
    libraries = {"LD_LIBRARY_PATH": str(package.parent / "nvidia_pytriton.libs")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | search | libraries, cwd=folder)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=waiting.WAIT_SECONDS)

    def is_ready() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            return client.get("/v2/health/ready").is_success
        except httpx.TransportError:
            return False

    try:
        waiting.wait_until(is_ready)
        yield Triton(client)
    finally:
        client.close()
        process.terminate()
        process.wait()


def test_triton_reports_the_same_configuration_and_signature(triton: Triton, ours) -> None:
    server, _ = ours
    expected, reported = server.client.get(CONFIG).json(), triton.client.get(CONFIG).json()
    # It adds its defaults to everything.
    for kind in ("input", "output"):
        for tensor, given in zip(expected.pop(kind), reported.pop(kind), strict=True):
            assert tensor.items() <= given.items()
    assert expected.pop("dynamic_batching").items() <= reported.pop("dynamic_batching").items()
    assert (expected.pop("platform"), expected.pop("backend")) == ("onnxruntime_onnx", "onnxruntime")
    assert expected.items() <= reported.items()

    path = f"/v2/models/{kit.NAME}"
    signature, served = server.client.get(path).json(), triton.client.get(path).json()
    assert served["versions"] == ["2"]
    assert all(served[kind] == signature[kind] for kind in ("name", "inputs", "outputs"))


def test_triton_answers_as_our_server_does(triton: Triton, ours, images, classifiers) -> None:
    server, _ = ours
    path = f"/v2/models/{kit.NAME}/infer"

    def ask(client: httpx.Client, number: int) -> dict:
        return client.post(path, content=json.dumps(kit.question(images[: 1 + number % 12]))).raise_for_status().json()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        theirs = list(pool.map(lambda number: ask(triton.client, number), range(48)))
    for number, answer in enumerate(theirs):
        ours_answer = ask(server.client, number)
        (output,), (expected,) = answer["outputs"], ours_answer["outputs"]
        assert {**output, "data": None} == {**expected, "data": None}
        assert np.allclose(output["data"], expected["data"], atol=1e-5)
        right = classifiers[2].probabilities(images[: 1 + number % 12])
        assert np.allclose(np.reshape(output["data"], right.shape), right, atol=1e-5)
        assert answer["model_version"] == ours_answer["model_version"] == "2"
