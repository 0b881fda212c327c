"""Rollouts: a challenger is measured beside the champion, and withdrawn when it does badly; no answer is affected."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import serving_kit as kit
from onnx import TensorProto, helper, numpy_helper

pytestmark = pytest.mark.slow

INFER = f"/v2/models/{kit.NAME}/infer"
LABELS = f'{{model="{kit.NAME}",version="2"'


def roll_out(repository: Path, canary: float, *, shadow: bool = False, challenger: int = 2) -> None:
    plan = {"challenger": challenger, "canary": canary, "shadow": shadow}
    kit.replace(repository / kit.NAME / "rollout.json", json.dumps(plan))


def rollout(server: kit.Server) -> dict:
    return server.client.get("/status").raise_for_status().json()["models"][kit.NAME]["rollout"]


def are_refused(server: kit.Server, number: int) -> bool:
    return sum("is refused" in line for line in server.log) == number


def ask(server: kit.Server, image: np.ndarray, request_id: str, path: str = INFER) -> tuple[int, np.ndarray]:
    """Return the version that answers, and its probabilities."""
    answer = server.client.post(
        path, json=kit.inference_request(image[np.newaxis]) | {"id": request_id}
    ).raise_for_status()
    tree = answer.json()
    assert tree["id"] == request_id
    return int(tree["model_version"]), np.array(tree["outputs"][0]["data"])


def ask_all(server: kit.Server, images: np.ndarray) -> Sequence[tuple[int, np.ndarray]]:
    return [ask(server, image, f"request-{number}") for number, image in enumerate(images)]


@pytest.fixture
def challenged(repository, data, second) -> Path:
    kit.publish(repository, 2, second, data[0])
    return repository


@pytest.fixture
def erring(first) -> onnx.ModelProto:
    """The first classifier, but it fails on images with a pixel above 127."""
    model = first.onnx()
    graph = model.graph
    graph.node[-1].output[0] = "probable"
    graph.initializer.append(numpy_helper.from_array(np.zeros(128, np.float32), "table"))
    graph.node.extend(
        [
            helper.make_node("ReduceMax", ["images"], ["brightest"], keepdims=0),
            helper.make_node("Cast", ["brightest"], ["index"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "index"], ["nothing"]),
            helper.make_node("Add", ["probable", "nothing"], ["probabilities"]),
        ]
    )
    return model


def test_a_canary_answers_its_share_by_the_id(challenged, data, first, second):
    images = data[0][:60]
    right = {1: first.probabilities(images), 2: second.probabilities(images)}
    with kit.Server(challenged, MNISTFLOW_SERVE_ADMIN_KEYS="admin") as server:
        assert rollout(server) is None
        roll_out(challenged, 0.5)
        kit.wait_until(lambda: (rollout(server) or {}).get("state") == "on")

        given = ask_all(server, images)

        assert {version for version, _ in given} == {1, 2}
        assert [version for version, _ in ask_all(server, images)] == [version for version, _ in given]
        for number, (version, probabilities) in enumerate(given):
            assert np.allclose(probabilities, right[version][number], atol=1e-5)
        assert {ask(server, images[0], f"{n}", f"/v2/models/{kit.NAME}/versions/1/infer")[0] for n in range(9)} == {1}
        answered = [version for version, _ in given].count(2) * 2
        kit.wait_until(lambda: rollout(server)["compared"] == answered)
        calls = rollout(server)["calls"]
        assert calls["challenger"]["calls"] == answered
        assert calls["champion"]["calls"] == 120
        assert calls["challenger"]["errors"] == calls["champion"]["errors"] == 0

        admin = {"Authorization": "Bearer admin"}
        for call in ("unload", "load"):
            server.client.post(f"/v2/repository/models/{kit.NAME}/{call}", headers=admin).raise_for_status()
        assert rollout(server)["state"] == "on"
        assert [version for version, _ in ask_all(server, images[:9])] == [version for version, _ in given[:9]]

        (challenged / kit.NAME / "rollout.json").unlink()
        kit.wait_until(lambda: rollout(server) is None)
        assert {version for version, _ in ask_all(server, images)} == {1}


def test_a_shadow_gets_copies_and_answers_nothing(challenged, data, first, second):
    images = data[0][:50]
    agreement = (first.probabilities(images).argmax(1) == second.probabilities(images).argmax(1)).mean()
    roll_out(challenged, 0, shadow=True)
    with kit.Server(challenged) as server:
        kit.wait_until(lambda: rollout(server)["state"] == "on")

        assert {version for version, _ in ask_all(server, images)} == {1}
        assert server.client.post("/predict", content=images[0].tobytes()).json()["version"] == 1

        kit.wait_until(lambda: rollout(server)["compared"] == 51)
        assert rollout(server)["agreement"] == pytest.approx(agreement, abs=1 / 50)
        metrics = server.metrics()
    assert f"mnistflow_rollout_compared_total{LABELS}}} 51.0" in metrics
    assert f'mnistflow_rollout_seconds_count{{model="{kit.NAME}",role="challenger",version="2"}} 51.0' in metrics


@pytest.mark.parametrize("shadow", [True, False], ids=["shadow", "canary"])
def test_a_challenger_that_errs_is_withdrawn_and_the_champion_answers(repository, data, first, erring, shadow):
    dark = data[0][:16] // 2
    kit.write_version(repository, 2, erring, dark, first.probabilities(dark))
    roll_out(repository, 0 if shadow else 1, shadow=shadow)
    with kit.Server(repository) as server:
        kit.wait_until(lambda: rollout(server)["state"] == "on")

        for image, expected in zip(data[0][:40], first.probabilities(data[0][:40]), strict=True):
            version, probabilities = ask(server, image, "same")
            assert version == 1
            assert np.allclose(probabilities, expected, atol=1e-5)

        kit.wait_until(lambda: rollout(server)["state"].startswith("withdrawn: "))
        assert f"mnistflow_rollout_withdrawn_total{LABELS}}} 1.0" in server.metrics()
        assert rollout(server)["calls"]["challenger"]["errors"] >= 20
        assert sum("version 2 is withdrawn" in line for line in server.log) == 1

        roll_out(repository, 0.001, shadow=shadow)
        kit.wait_until(lambda: rollout(server)["state"] == "on")


def test_a_challenger_that_is_slow_is_withdrawn_and_the_champion_answers(repository, data, first, heavy):
    images, raw = data[0][:64], {"Inference-Header-Content-Length": "0"}
    kit.publish(repository, 2, heavy, data[0])
    roll_out(repository, 1)
    with kit.Server(repository, "--rollout-seconds", "0.001") as server:
        kit.wait_until(lambda: rollout(server)["state"] == "on")
        for _ in range(30):
            answer = server.client.post(INFER, content=images.tobytes(), headers=raw).raise_for_status()
            values = np.frombuffer(answer.content[-64 * 40 :], "<f4").reshape(-1, 10)
            assert b'"model_version":"1"' in answer.content
            assert np.allclose(values, first.probabilities(images), atol=1e-5)

        assert rollout(server)["state"].startswith("withdrawn: ")


BAD_PLANS = {
    '{"challenger": 9, "canary": 0.5, "shadow": false}': "model.json is missing",
    '{"challenger": 3, "canary": 0.5, "shadow": false}': "signature differs from that of the champion",
    '{"challenger": 2, "canary": 7, "shadow": false}': "no version number",
    "[]": "no version number",
    "no json": "no version number",
}


def test_what_cannot_be_tried_is_refused_and_said(challenged, data):
    few = kit.Classifier([np.zeros((784, 3), np.float32)], [np.zeros(3, np.float32)])
    kit.publish(challenged, 3, few, data[0])
    with kit.Server(challenged) as server:
        for number, (plan, reason) in enumerate(BAD_PLANS.items(), 1):
            kit.replace(challenged / kit.NAME / "rollout.json", plan)
            kit.wait_until(partial(are_refused, server, number))

            assert rollout(server)["state"].startswith("refused: ")
            assert reason in rollout(server)["state"]
            assert reason in next(iter(server.client.get("/status").json()["models"][kit.NAME]["refused"].values()))
            assert ask(server, data[0][0], "any")[0] == 1
