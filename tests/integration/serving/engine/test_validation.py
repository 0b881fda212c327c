"""Validation of versions: one that harms its process never serves, and nothing else is affected."""

import signal
import sys
from collections.abc import Sequence

import numpy as np
import onnx
import psutil
import pytest
import serving_kit as kit
from onnx import NodeProto, TensorProto, helper, numpy_helper
from waiting import WAIT_SECONDS

pytestmark = pytest.mark.slow

ENDLESS, CRASHING, GREEDY = "endless-classifier", "crashing-classifier", "greedy-classifier"


def altered(classifier: kit.Classifier, nodes: Sequence[NodeProto], **constants: np.ndarray) -> onnx.ModelProto:
    """Return a classifier whose answers, `probable`, go through further nodes before they are `probabilities`."""
    model = classifier.onnx()
    model.graph.node[-1].output[0] = "probable"
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    return model


def endless(classifier: kit.Classifier) -> onnx.ModelProto:
    """Return a classifier that never answers."""
    flag, values = (helper.make_tensor_value_info("go", 9, []), helper.make_tensor_value_info("before", 1, None))
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["before"], ["after"])],
        "body",
        [helper.make_tensor_value_info("turn", TensorProto.INT64, []), flag, values],
        [helper.make_tensor_value_info("on", 9, []), helper.make_tensor_value_info("after", 1, None)],
    )
    loop = helper.make_node("Loop", ["turns", "always", "probable"], ["probabilities"], body=body)
    return altered(classifier, [loop], turns=np.array(2**60), always=np.array(True))


def crashing(classifier: kit.Classifier) -> onnx.ModelProto:
    """Return a classifier on which onnxruntime divides by zero, which ends its process."""
    nodes = [
        helper.make_node("Reshape", ["floats", "picture"], ["pictures"]),
        helper.make_node("ConvTranspose", ["pictures", "kernel"], ["larger"], group=0),
        helper.make_node("ReduceMin", ["larger"], ["least"], keepdims=0),
        helper.make_node("Add", ["probable", "least"], ["probabilities"]),
    ]
    return altered(classifier, nodes, picture=np.array([-1, 1, 28, 28]), kernel=np.zeros((1, 1, 3, 3), np.float32))


def greedy(classifier: kit.Classifier) -> onnx.ModelProto:
    """Return a classifier that takes 4 GB for a moment."""
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("Gather", ["zeros", "first"], ["zero"]),
        helper.make_node("Add", ["probable", "zero"], ["probabilities"]),
    ]
    return altered(classifier, nodes, size=np.array([2**30]), first=np.array([0]))


def write(repository, name, model, classifier, images):
    kit.write_version(repository, 1, model, images, classifier.probabilities(images), name=name)


@pytest.mark.hostile
def test_what_never_ends_or_crashes_or_takes_too_much_memory_is_refused_and_the_others_serve(repository, data, first):
    for name, model in ((ENDLESS, endless), (CRASHING, crashing), (GREEDY, greedy)):
        write(repository, name, model(first), first, data[0][:4])
        kit.set_champion(repository, 1, name)
    with kit.Server(repository, "--candidate-seconds", "20", "--candidate-bytes", str(2 * 10**9)) as server:
        models = server.client.get("/status").json()["models"]

        assert models.pop(kit.NAME) == {"champion": 1, "refused": {}, "rollout": None}
        assert {name: entry["champion"] for name, entry in models.items()} == {
            ENDLESS: None,
            CRASHING: None,
            GREEDY: None,
        }
        assert models[ENDLESS]["refused"] == {"1": "loading it takes more than 20 seconds"}
        assert "exits with status" in models[CRASHING]["refused"]["1"]
        assert set(models[GREEDY]["refused"]) == {"1"}
        assert server.client.get("/v2/health/ready").status_code == 200
        answer = server.client.post(f"/v2/models/{ENDLESS}/infer", json=kit.inference_request(data[0][:1]))
        assert answer.status_code == 503


def test_a_candidate_that_never_ends_holds_up_neither_other_models_nor_the_end(repository, data, first, second):
    kit.publish(repository, 2, second, data[0])
    write(repository, ENDLESS, endless(first), first, data[0][:4])
    with kit.Server(repository, "--candidate-seconds", "3600") as server:
        kit.set_champion(repository, 1, ENDLESS)
        process = psutil.Process(server.pid)
        kit.wait_until(process.children)
        (candidate,) = process.children()

        kit.set_champion(repository, 2)
        kit.wait_until(lambda: server.client.get("/predict").json()["version"] == 2)

        assert candidate.is_running()
        assert server.stop() == 0
        kit.wait_until(lambda: not candidate.is_running())


def test_a_server_stops_while_it_tries_its_first_champion(tmp_path, data, first):
    write(tmp_path, ENDLESS, endless(first), first, data[0][:4])
    kit.set_champion(tmp_path, 1, ENDLESS)
    command = [sys.executable, "-m", "serving", "--port", "0", "--candidate-seconds", "3600", "--repository"]
    server = psutil.Popen([*command, str(tmp_path)])
    kit.wait_until(server.children)
    (candidate,) = server.children()
    # Once it has loaded its packages, it steps back behind the server.
    kit.wait_until(lambda: candidate.nice() > server.nice())

    server.terminate()

    assert server.wait(timeout=WAIT_SECONDS) == 0
    kit.wait_until(lambda: not candidate.is_running())


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_outlives_a_server_that_is_killed_while_it_tries_a_version(repository, data, first, workers):
    write(repository, ENDLESS, endless(first), first, data[0][:4])
    with kit.Server(repository, "--workers", str(workers), "--candidate-seconds", "3600") as server:
        kit.set_champion(repository, 1, ENDLESS)
        # The workers and their supervisor, if there is one, and what tries the version for each worker.
        count = 2 * workers + (workers > 1)
        kit.wait_until(lambda: len(kit.processes_of(repository)) == count)

        server.stop(signal.SIGKILL)

        kit.wait_until(lambda: not kit.processes_of(repository))


def test_a_rollback_loads_nothing_whatever_else_was_asked_for(repository, data, first, second):
    for version in (2, 3, 4):
        kit.publish(repository, version, second, data[0])
    with kit.Server(repository, "--resident-versions", "1") as server:
        kit.set_champion(repository, 2)
        kit.wait_until(lambda: server.client.get("/predict").json()["version"] == 2)
        for version in (3, 4):
            assert server.client.get(f"/v2/models/{kit.NAME}/versions/{version}/ready").status_code == 200
        (repository / kit.NAME / "1").rename(repository / "gone")

        kit.set_champion(repository, 1)
        kit.wait_until(lambda: server.client.get("/predict").json()["version"] == 1)
        answer = server.client.post(f"/v2/models/{kit.NAME}/infer", json=kit.inference_request(data[0][:1])).json()

    assert np.allclose(answer["outputs"][0]["data"], first.probabilities(data[0][:1])[0], atol=1e-4)
