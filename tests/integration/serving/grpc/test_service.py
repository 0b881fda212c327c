"""gRPC service: the same results, keys, limits and errors as over HTTP."""

import os
import random
import signal
import subprocess
import sys
from typing import Any

import grpc
import numpy as np
import pytest
import serving_kit as kit
from checkouts import ROOT
from cluster import free_port
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2 import HealthCheckResponse as Health
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_tools import protoc
from waiting import WAIT_SECONDS

from serving.protocol import inference_pb2 as pb

pytestmark = pytest.mark.slow

Code = grpc.StatusCode
INFER = f"/v2/models/{kit.NAME}/infer"


class Client:
    """Calls the service, by the names of its methods."""

    def __init__(self, port, *metadata):
        options = [("grpc.max_send_message_length", -1)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
        self._metadata = metadata
        self._service = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]

    def call(self, name, message, **options):
        method = self._service.methods_by_name[name]
        call = self._channel.unary_unary(
            f"/{self._service.full_name}/{name}",
            request_serializer=lambda message: message if isinstance(message, bytes) else message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        return call(message, metadata=self._metadata, timeout=WAIT_SECONDS, **options)

    def infer(self, images, **changes):
        return self.call("ModelInfer", inference_request(images, **changes))

    def code(self, name, message, **options):
        with pytest.raises(grpc.RpcError) as caught:
            self.call(name, message, **options)
        assert "/" not in (caught.value.details() or "")
        return caught.value.code()


def tensor(images, **changes):
    return {"name": "images", "datatype": "UINT8", "shape": images.shape} | changes


def inference_request(images, **changes):
    """Return a request with raw contents; `changes` replace its fields."""
    raw = {"model_name": kit.NAME, "inputs": [tensor(images)], "raw_input_contents": [images.tobytes()]}
    return pb.ModelInferRequest(**raw | changes)


def raw(response):
    (output,), (content,) = response.outputs, response.raw_output_contents
    return np.frombuffer(content, "<f4").reshape(output.shape)


@pytest.fixture(scope="module")
def port():
    return free_port()


@pytest.fixture(scope="module")
def server(tmp_path_factory, data, first, second, port):
    folder = tmp_path_factory.mktemp("models")
    kit.publish(folder, 1, first, data[0])
    kit.publish(folder, 2, second, data[0])
    kit.set_champion(folder, 1)
    with kit.Server(folder, "--grpc-port", str(port), "--max-body-bytes", "2000000") as running:
        yield running


@pytest.fixture(scope="module")
def client(server, port):
    return Client(port)


def test_the_messages_are_those_of_the_proto_file(tmp_path):
    protoc.main(["", f"-I{ROOT}", f"--python_out={tmp_path}", f"{ROOT}/serving/protocol/inference.proto"])
    generated = (tmp_path / "serving/protocol/inference_pb2.py").read_text()

    assert generated == (ROOT / "serving/protocol/inference_pb2.py").read_text(), "run `make proto`"


def test_health_and_metadata_are_those_of_rest(server, client):
    assert client.call("ServerLive", pb.ServerLiveRequest()).live
    assert client.call("ServerReady", pb.ServerReadyRequest()).ready
    for version in ("", "1", "2"):
        assert client.call("ModelReady", pb.ModelReadyRequest(name=kit.NAME, version=version)).ready
    metadata = client.call("ServerMetadata", pb.ServerMetadataRequest())
    assert {"name": metadata.name, "version": metadata.version, "extensions": list(metadata.extensions)} == (
        server.client.get("/v2").json()
    )
    model = client.call("ModelMetadata", pb.ModelMetadataRequest(name=kit.NAME))
    assert list(model.versions) == ["1", "2"]
    assert (model.inputs[0].name, model.inputs[0].datatype, list(model.inputs[0].shape)) == (
        ("images", "UINT8", [-1, 28, 28])
    )
    config = client.call("ModelConfig", pb.ModelConfigRequest(name=kit.NAME)).config
    assert (config.input[0].data_type, list(config.input[0].dims)) == (pb.TYPE_UINT8, [28, 28])
    index = client.call("RepositoryIndex", pb.RepositoryIndexRequest(ready=True))
    assert {(entry.version, entry.state) for entry in index.models} >= {("1", "READY")}


@pytest.mark.parametrize("version", ["", "1", "2"])
def test_raw_and_typed_tensors_are_answered_in_kind(client, data, first, second, version):
    images = data[0][:7]
    expected = (second if version == "2" else first).probabilities(images)

    asked_raw = client.infer(images, id="a-7", model_version=version)
    typed = tensor(images, contents={"uint_contents": images.ravel().tolist()})
    asked_typed = client.infer(images, model_version=version, inputs=[typed], raw_input_contents=[])

    assert (asked_raw.id, asked_raw.model_name, asked_raw.model_version) == ("a-7", kit.NAME, version or "1")
    assert np.allclose(raw(asked_raw), expected, atol=1e-5)
    assert not asked_typed.raw_output_contents
    assert np.allclose(np.reshape(asked_typed.outputs[0].contents.fp32_contents, (7, 10)), expected, atol=1e-5)


IMAGE = np.zeros((1, 28, 28), np.uint8)
ERRORS = {
    "no such model": ({"model_name": "nothing"}, Code.NOT_FOUND),
    "no name": ({"model_name": ""}, Code.NOT_FOUND),
    "a path for a name": ({"model_name": "../models"}, Code.NOT_FOUND),
    "no such version": ({"model_version": "9"}, Code.NOT_FOUND),
    "version with a sign": ({"model_version": "+1"}, Code.NOT_FOUND),
    "no inputs": ({"inputs": [], "raw_input_contents": []}, Code.INVALID_ARGUMENT),
    "too many inputs": ({"inputs": [tensor(IMAGE)] * 1000}, Code.INVALID_ARGUMENT),
    "too many outputs": ({"outputs": [{"name": "probabilities"}] * 1000}, Code.INVALID_ARGUMENT),
    "output unknown": ({"outputs": [{"name": "logits"}]}, Code.INVALID_ARGUMENT),
    "input unknown": ({"inputs": [tensor(IMAGE, name="x")]}, Code.INVALID_ARGUMENT),
    "datatype of another": ({"inputs": [tensor(IMAGE, datatype="FP32")]}, Code.INVALID_ARGUMENT),
    "shape beyond numbers": ({"inputs": [tensor(IMAGE, shape=[2**62, 28, 28])]}, Code.INVALID_ARGUMENT),
    "negative shape": ({"inputs": [tensor(IMAGE, shape=[-1, 28, 28])]}, Code.INVALID_ARGUMENT),
    "too few bytes": ({"raw_input_contents": [bytes(783)]}, Code.INVALID_ARGUMENT),
    "too many bytes": ({"raw_input_contents": [bytes(785)]}, Code.INVALID_ARGUMENT),
    "too many blobs": ({"raw_input_contents": [bytes(784)] * 2}, Code.INVALID_ARGUMENT),
    "raw and typed": (
        {"inputs": [tensor(IMAGE, contents={"uint_contents": [0] * 784})]},
        Code.INVALID_ARGUMENT,
    ),
    "values in the wrong field": (
        {"inputs": [tensor(IMAGE, contents={"fp32_contents": [0] * 784})], "raw_input_contents": []},
        Code.INVALID_ARGUMENT,
    ),
    "values out of range": (
        {"inputs": [tensor(IMAGE, contents={"uint_contents": [256] * 784})], "raw_input_contents": []},
        Code.INVALID_ARGUMENT,
    ),
}


@pytest.mark.parametrize(("changes", "code"), ERRORS.values(), ids=ERRORS)
def test_a_wrong_request_has_a_code_and_the_server_is_still_right(client, data, first, changes, code):
    assert client.code("ModelInfer", inference_request(IMAGE, **changes)) == code
    assert np.allclose(raw(client.infer(data[0][:1])), first.probabilities(data[0][:1]), atol=1e-5)


@pytest.mark.hostile
def test_what_is_no_message_or_too_large_is_refused(server, client, data, first):
    assert client.code("ModelInfer", b"\xff\xff rubbish") == Code.INVALID_ARGUMENT
    large = inference_request(IMAGE, raw_input_contents=[bytes(200_000_000)])
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        assert client.code("ModelInfer", large, compression=compression) == Code.RESOURCE_EXHAUSTED
    assert server.memory_peak_bytes() < 300e6
    assert np.allclose(raw(client.infer(data[0][:1])), first.probabilities(data[0][:1]), atol=1e-5)


@pytest.mark.hostile
def test_messages_with_changed_bytes_do_no_harm(server, client, data, first):
    sound = inference_request(data[0][:1], id="a-7", outputs=[{"name": "probabilities"}]).SerializeToString()
    codes = set()
    for seed in range(300):
        chance = random.Random(seed)
        message = bytearray(sound)
        for _ in range(chance.choice((1, 2, 8))):
            # What says what the rest means stands at the beginning.
            message[chance.randrange(80)] ^= 1 << chance.randrange(8)
        try:
            client.call("ModelInfer", bytes(message))
        except grpc.RpcError as error:
            codes.add(error.code())

    assert codes <= {Code.INVALID_ARGUMENT, Code.NOT_FOUND}
    assert np.allclose(raw(client.infer(data[0][:1])), first.probabilities(data[0][:1]), atol=1e-5)
    assert not any("Traceback" in line for line in server.log)


def test_health_checking_means_readiness(port, repository):
    own = free_port()
    name = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
    unloading = {"authorization": "Bearer admin"}
    with (
        kit.Server(repository, "--grpc-port", str(own), MNISTFLOW_SERVE_ADMIN_KEYS="admin") as server,
        grpc.insecure_channel(f"127.0.0.1:{own}") as channel,
    ):
        health: Any = HealthStub(channel)
        for service in ("", name):
            assert health.Check(HealthCheckRequest(service=service), timeout=WAIT_SECONDS).status == Health.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            health.Check(HealthCheckRequest(service="nothing"), timeout=WAIT_SECONDS)
        assert caught.value.code() == Code.NOT_FOUND
        unknown = health.Watch(HealthCheckRequest(service="nothing"), timeout=WAIT_SECONDS)
        assert next(unknown).status == Health.SERVICE_UNKNOWN
        watch = health.Watch(HealthCheckRequest(), timeout=WAIT_SECONDS)
        assert next(watch).status == Health.SERVING
        server.client.post(f"/v2/repository/models/{kit.NAME}/unload", headers=unloading).raise_for_status()
        assert next(watch).status == Health.NOT_SERVING
        server.client.post(f"/v2/repository/models/{kit.NAME}/load", headers=unloading).raise_for_status()
        assert next(watch).status == Health.SERVING

        # Those who watch hear of the end, and do not hold it up.
        os.kill(server.pid, signal.SIGTERM)
        assert [update.status for update in watch] == [Health.NOT_SERVING]
        assert server.stop() == 0


def test_reflection_describes_the_services(server, port):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= set(database.get_services())
        described = DescriptorPool(database).FindServiceByName("inference.GRPCInferenceService")

    assert "ModelStreamInfer" in described.methods_by_name


def test_a_stream_is_answered_in_its_order_and_outlives_errors(server, port, data, first):
    images = data[0][:100]
    requests = [inference_request(image[None], id=str(number)) for number, image in enumerate(images)]
    requests[40] = inference_request(IMAGE, model_name="nothing", id="40")
    requests[41] = b"\xff\xff rubbish"
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer",
            request_serializer=lambda message: message if isinstance(message, bytes) else message.SerializeToString(),
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )
        answers = list(call(iter(requests), timeout=WAIT_SECONDS))
        # A client that leaves in the middle disturbs nobody.
        left = call(iter(requests), timeout=WAIT_SECONDS)
        next(left)
        left.cancel()
        assert [answer.infer_response.id for answer in call(iter(requests[:3]), timeout=WAIT_SECONDS)] == [
            "0",
            "1",
            "2",
        ]

    assert "no such model" in answers[40].error_message
    assert answers[40].infer_response.id == "40"
    assert "not a message" in answers[41].error_message
    assert answers[41].infer_response.id == ""
    for number, answer in enumerate(answers):
        if number not in (40, 41):
            assert (answer.error_message, answer.infer_response.id) == ("", str(number))
            expected = first.probabilities(images[number : number + 1])
            assert np.allclose(raw(answer.infer_response), expected, atol=1e-5)


def test_what_triton_offers_and_this_server_does_not_is_refused_with_one_line(server, client):
    classes = {"name": "probabilities", "parameters": {"classification": {"int64_param": 3}}}
    shared = tensor(IMAGE, parameters={"shared_memory_region": {"string_param": "here"}})
    assert client.code("ModelInfer", inference_request(IMAGE, outputs=[classes])) == Code.INVALID_ARGUMENT
    assert client.code("ModelInfer", inference_request(IMAGE, inputs=[shared])) == Code.INVALID_ARGUMENT
    by_http = {
        **kit.inference_request(IMAGE),
        "outputs": [{"name": "probabilities", "parameters": {"classification": 3}}],
    }
    assert "class_count" in server.client.post(INFER, json=by_http).json()["error"]
    for kind in ("system", "cuda"):
        path = f"/v2/{kind}sharedmemory"
        assert server.client.get(f"{path}/status").json() == []
        assert server.client.post(f"{path}/unregister").is_success
        refused = server.client.post(f"{path}/region/here/register", json={"key": "/here", "byte_size": 1})
        assert (refused.status_code, "not offered" in refused.json()["error"]) == (400, True)
        name = kind.title()
        assert not client.call(f"{name}SharedMemoryStatus", pb.SharedMemoryRequest()).ListFields()
        assert client.code(f"{name}SharedMemoryRegister", pb.SharedMemoryRequest(name="here")) == Code.INVALID_ARGUMENT


def test_settings_of_traces_and_logs_are_answered_and_not_changed(server, client):
    for path in ("/v2/trace/setting", f"/v2/models/{kit.NAME}/trace/setting"):
        traces = server.client.get(path).json()
        assert traces["trace_level"] == ["OFF"]
        assert server.client.post(path).json() == traces
        assert server.client.post(path, json={"trace_level": ["TIMESTAMPS"]}).status_code == 400
    assert server.client.get("/v2/models/nothing/trace/setting").status_code == 404
    answered = client.call("TraceSetting", pb.TraceSettingRequest(model_name=kit.NAME)).settings
    assert {name: list(setting.value) for name, setting in answered.items()} == {
        name: value if isinstance(value, list) else [value] for name, value in traces.items()
    }

    logs = server.client.get("/v2/logging").json()
    assert (logs["log_info"], logs["log_verbose_level"]) == (True, 0)
    assert server.client.post("/v2/logging", json={"log_info": False}).status_code == 400
    settings = client.call("LogSettings", pb.LogSettingsRequest()).settings
    assert settings["log_info"].bool_param
    assert set(settings) == set(logs)


def test_calls_are_counted_by_code(server, client, data):
    client.infer(data[0][:1])
    client.code("ModelInfer", inference_request(IMAGE, model_name="nothing"))

    assert 'mnistflow_requests_total{endpoint="grpc",status="OK"}' in server.metrics()
    assert 'mnistflow_requests_total{endpoint="grpc",status="NOT_FOUND"}' in server.metrics()


def test_without_a_key_only_health_answers(repository, data, first, port):
    own = free_port()
    with kit.Server(repository, "--grpc-port", str(own), MNISTFLOW_SERVE_KEYS="first") as server:
        for metadata in ([], [("authorization", "Bearer wrong")]):
            client = Client(own, *metadata)
            assert client.code("ModelInfer", inference_request(data[0][:1])) == Code.UNAUTHENTICATED
            assert client.code("ServerMetadata", pb.ServerMetadataRequest()) == Code.UNAUTHENTICATED
            assert client.call("ServerReady", pb.ServerReadyRequest()).ready
        answer = Client(own, ("authorization", "Bearer first")).infer(data[0][:1])
        assert np.allclose(raw(answer), first.probabilities(data[0][:1]), atol=1e-5)
        assert server.stop(signal.SIGTERM) == 0


def test_a_taken_port_is_one_line(server, repository, port):
    command = [sys.executable, "-m", "serving", "--port", "0", "--grpc-port", str(port), "--repository"]
    taken = subprocess.run([*command, str(repository)], capture_output=True, text=True, check=False)

    assert taken.returncode == 1
    assert taken.stderr.count("\n") == 1
    assert "--grpc-port" in taken.stderr
