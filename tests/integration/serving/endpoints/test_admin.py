"""Triton's extensions for administration: loading, unloading and statistics of models."""

import re
from typing import Any

import grpc
import numpy as np
import pytest
import serving_kit as kit
import waiting
from cluster import free_port
from waiting import WAIT_SECONDS

pytestmark = pytest.mark.slow

MODEL = f"/v2/models/{kit.NAME}"
INFER = f"{MODEL}/infer"
LOAD = f"/v2/repository/models/{kit.NAME}/load"
UNLOAD = f"/v2/repository/models/{kit.NAME}/unload"
ADMIN = {"authorization": "Bearer second"}


@pytest.fixture
def server(repository):
    with kit.Server(repository, MNISTFLOW_SERVE_ADMIN_KEYS="first, second") as running:
        yield running


def is_right(server, images, classifier):
    answer = server.client.post(INFER, json=kit.inference_request(images))
    return answer.is_success and np.allclose(
        np.reshape(answer.json()["outputs"][0]["data"], (len(images), 10)), classifier.probabilities(images), atol=1e-5
    )


@pytest.mark.hostile
def test_admin_calls_are_off_unless_there_is_a_key(repository, data, first):
    port = free_port()
    with kit.Server(repository, "--grpc-port", str(port)) as server:
        for path in (LOAD, UNLOAD):
            for headers in ({}, ADMIN, {"authorization": "Bearer"}):
                assert server.client.post(path, headers=headers).status_code == 403
        for method in ("RepositoryModelLoad", "RepositoryModelUnload"):
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError) as caught:
                call: Any = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
                call(b"", timeout=WAIT_SECONDS)
            assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
        assert is_right(server, data[0][:2], first)


def test_an_admin_is_a_client_but_a_client_is_no_admin(repository, data):
    keys = {"MNISTFLOW_SERVE_KEYS": "client", "MNISTFLOW_SERVE_ADMIN_KEYS": "admin"}
    with kit.Server(repository, **keys) as server:
        assert server.client.post(UNLOAD).status_code == 401
        assert server.client.post(UNLOAD, headers={"authorization": "Bearer other"}).status_code == 401
        assert server.client.post(UNLOAD, headers={"authorization": "Bearer client"}).status_code == 403
        for key in ("client", "admin"):
            body, headers = kit.inference_request(data[0][:1]), {"authorization": f"Bearer {key}"}
            assert server.client.post(INFER, json=body, headers=headers).status_code == 200


def test_an_unloaded_model_is_gone_until_it_is_loaded(server, data, first):
    assert server.client.post(UNLOAD, headers={"authorization": "Bearer first"}).status_code == 200
    for path in (INFER, f"{MODEL}/versions/1/infer"):
        assert server.client.post(path, json=kit.inference_request(data[0][:1])).status_code == 503
    assert server.client.post("/predict", content=data[0][0].tobytes()).status_code == 503
    assert server.client.get(f"{MODEL}/ready").status_code == 503
    assert server.client.get("/v2/health/ready").status_code == 503
    (entry,) = server.client.post("/v2/repository/index").json()
    assert (entry["state"], entry["reason"]) == ("UNAVAILABLE", "unloaded")
    assert server.client.get("/v2/models/stats").json() == {"model_stats": []}

    assert server.client.post(LOAD, headers=ADMIN).status_code == 200
    assert is_right(server, data[0][:2], first)
    assert server.client.get(f"{MODEL}/ready").status_code == 200
    assert server.client.get("/v2/health/ready").status_code == 200


@pytest.mark.hostile
def test_loading_takes_names_only(server, data, first):
    for content in (b'{"parameters": {"config": "{}"}}', b'{"parameters": {"file:1/model.onnx": "aGk="}}', b"[]", b"{"):
        assert server.client.post(LOAD, content=content, headers=ADMIN).status_code == 400
    for name in ("nothing", "..%2f..%2fetc", "%2e%2e", "http:%2f%2fexample.org%2fmodel", "a%00b"):
        for call in ("load", "unload"):
            answer = server.client.post(f"/v2/repository/models/{name}/{call}", headers=ADMIN)
            assert answer.status_code == 404
    assert server.client.post(LOAD, content=b"{}", headers=ADMIN).status_code == 200
    assert is_right(server, data[0][:2], first)


def test_loading_tries_a_refused_champion_again(server, repository, data, first, second):
    images = data[0][:4]
    broken = kit.write_version(repository, 2, b"no model", images, second.probabilities(images))
    kit.set_champion(repository, 2)
    refused = server.client.post(LOAD, headers=ADMIN)
    assert refused.status_code == 503
    assert "onnxruntime" in refused.json()["error"]
    assert is_right(server, images, first)

    broken.rename(repository / "broken")
    kit.publish(repository, 2, second, data[0])
    assert server.client.post(LOAD, headers=ADMIN).status_code == 200
    assert is_right(server, images, second)


def test_all_workers_obey(repository, data, first):
    def statuses(running):
        # A connection of its own for each, so that the kernel picks a worker.
        return {
            waiting.post(running.url + INFER, json=kit.inference_request(data[0][:1])).status_code for _ in range(16)
        }

    with kit.Server(repository, "--workers", "2", MNISTFLOW_SERVE_ADMIN_KEYS="second") as server:
        assert server.client.post(UNLOAD, headers=ADMIN).status_code == 200
        kit.wait_until(lambda: statuses(server) == {503})
        assert server.client.post(LOAD, headers=ADMIN).status_code == 200
        kit.wait_until(lambda: statuses(server) == {200})
        assert is_right(server, data[0][:2], first)


def test_statistics_and_metrics_count_the_same(server, data):
    for rows in (1, 2, 5):
        server.client.post(INFER, json=kit.inference_request(data[0][:rows]))
    assert server.client.post(INFER, json=kit.inference_request(data[0][:1], shape=[1])).status_code == 400

    (all_models,) = server.client.get("/v2/models/stats").json()["model_stats"]
    for path in (f"{MODEL}/stats", f"{MODEL}/versions/1/stats"):
        assert server.client.get(path).json()["model_stats"] == [all_models]
    counted = {
        name: float(value)
        for name, value in re.findall(
            r'^(nv_\w+)\{model="digits-classifier",version="1"\} (\S+)$', server.metrics(), re.M
        )
    }

    assert (all_models["name"], all_models["version"]) == (kit.NAME, "1")
    assert (all_models["inference_count"], all_models["execution_count"]) == (8, 3)
    assert counted["nv_inference_count"] == 8
    assert counted["nv_inference_exec_count"] == counted["nv_inference_request_success"] == 3
    assert counted["nv_inference_request_failure"] == counted["nv_inference_pending_request_count"] == 0
    assert counted["nv_inference_compute_input_duration_us"] == counted["nv_inference_compute_output_duration_us"] == 0
    stats = all_models["inference_stats"]
    assert stats["success"]["count"] == stats["compute_infer"]["count"] == 3
    assert stats["success"]["ns"] == pytest.approx(stats["queue"]["ns"] + stats["compute_infer"]["ns"], abs=10)
    assert stats["compute_infer"]["ns"] == pytest.approx(
        counted["nv_inference_compute_infer_duration_us"] * 1e3, abs=10
    )
    assert server.client.get("/v2/models/nothing/stats").status_code == 404
    assert server.client.get(f"{MODEL}/versions/7/stats").status_code == 404
