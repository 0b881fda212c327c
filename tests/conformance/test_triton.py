"""`config.pbtxt` is the configuration that our server reports, and by it a real Triton gives the same answers."""

import concurrent.futures
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
import serving_kit as kit
import triton_server
import waiting
from cluster import free_port
from google.protobuf import json_format, text_format

from mnistflow.paths import Paths
from serving.protocol import inference_pb2 as pb

pytestmark = pytest.mark.slow

CONFIG = f"/v2/models/{kit.NAME}/config"


@pytest.fixture(scope="module")
def published(tmp_path_factory, images, classifiers) -> Path:
    """A model repository with two versions, of which the second was made the champion as promotions do it."""
    folder = tmp_path_factory.mktemp("checkout")
    paths = Paths(folder, folder)
    for number, classifier in classifiers.items():
        kit.publish(paths.models, number, classifier, images)
    triton_server.promote(paths, 2)
    return paths.models


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
    package = triton_server.installed()
    if package is None:
        pytest.skip(triton_server.INSTALL)
    served = triton_server.running(package, published / kit.NAME, "2", tmp_path_factory.mktemp("triton"))
    with served as (address, _), httpx.Client(base_url=address, timeout=waiting.WAIT_SECONDS) as client:
        yield Triton(client)


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
        body = json.dumps(kit.inference_request(images[: 1 + number % 12]))
        return client.post(path, content=body).raise_for_status().json()

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
