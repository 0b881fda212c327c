"""What happens over time: refused candidates, several models, clients that leave, stopping in the middle."""

import concurrent.futures
import io
import os
import shutil
import signal
import socket
import struct
import sys
import threading
from functools import partial

import numpy as np
import pytest
import serving_kit as kit
from PIL import Image
from waiting import WAIT_SECONDS

pytestmark = pytest.mark.slow

INFER = f"/v2/models/{kit.NAME}/infer"
OTHER = "letters-classifier"
EARLIER, LATER = "1999-01-01T00:00:00+00:00", "2099-01-01T00:00:00+00:00"


def version_serving(server):
    return server.client.get("/predict").json()["version"]


def serves(server, version):
    return version_serving(server) == version


def are_refused(server, number):
    return sum("is refused" in line for line in server.log) == number


def raw(server):
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=WAIT_SECONDS)


def ended(connection):
    """Wait for the server to close the connection; False when it sends something first."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_refused_candidate_is_counted_once_and_a_mended_one_serves(repository, data, second):
    kit.write_version(repository, 2, b"no model", data[0][:4], second.probabilities(data[0][:4]))
    with kit.Server(repository) as server:
        kit.set_champion(repository, 2)
        refused = f'mnistflow_refused_candidates_total{{model="{kit.NAME}",version="2"}}'
        kit.wait_until(lambda: refused in server.metrics())
        answer = server.client.get(f"/v2/models/{kit.NAME}/versions/2/ready")
        assert answer.status_code == 503
        assert "onnxruntime cannot load" in answer.json()["error"]
        assert server.client.get("/v2/health/ready").status_code == 200

        kit.publish(repository, 3, second, data[0])
        kit.set_champion(repository, 3)
        kit.wait_until(lambda: version_serving(server) == 3)

        metrics = server.metrics()
    assert f"{refused} 1.0" in metrics
    assert f'mnistflow_champion_version{{model="{kit.NAME}"}} 3.0' in metrics
    assert f'mnistflow_swaps_total{{model="{kit.NAME}"}} 1.0' in metrics
    assert sum("version 2 is refused" in line for line in server.log) == 1


def test_a_pointer_to_nothing_changes_nothing(repository):
    with kit.Server(repository) as server:
        for number, pointer in enumerate(("", "two", "99"), 1):
            kit.set_champion(repository, pointer)
            kit.wait_until(partial(are_refused, server, number))

            assert version_serving(server) == 1


def test_a_rollback_serves_the_version_before_again(repository, data, second):
    kit.publish(repository, 2, second, data[0])
    with kit.Server(repository) as server:
        for version in (2, 1, 2, 1):
            kit.set_champion(repository, version)
            kit.wait_until(partial(serves, server, version))


def test_a_folder_that_is_replaced_is_loaded_again(repository, data, first, second):
    kit.publish(repository, 2, first, data[0])

    def answers(version, classifier):
        path = f"/v2/models/{kit.NAME}/versions/{version}/infer"
        given = server.client.post(path, json=kit.inference_request(data[0][:1])).json()
        wanted = classifier.probabilities(data[0][:1])[0]
        return "outputs" in given and np.allclose(given["outputs"][0]["data"], wanted, atol=1e-5)

    with kit.Server(repository) as server:
        for version in (1, 2):  # the champion, and one that is in memory besides
            assert answers(version, first)
            shutil.rmtree(repository / kit.NAME / str(version))
            kit.publish(repository, version, second, data[0])
            kit.wait_until(partial(answers, version, second))
        kit.set_champion(repository, 2)
        kit.wait_until(partial(serves, server, 2))
        assert answers(2, second)


def test_a_model_that_comes_later_serves_without_a_restart(repository, data, second):
    with kit.Server(repository) as server:
        assert server.client.get(f"/v2/models/{OTHER}").status_code == 404
        kit.publish(repository, 7, second, data[0], name=OTHER, created=LATER)
        assert server.client.get(f"/v2/models/{OTHER}").status_code == 404

        kit.set_champion(repository, 7, OTHER)
        kit.wait_until(lambda: server.client.get(f"/v2/models/{OTHER}/ready").status_code == 200)

        given = server.client.post(f"/v2/models/{OTHER}/infer", json=kit.inference_request(data[0][:1])).json()
        assert (given["model_name"], given["model_version"]) == (OTHER, "7")
        described = server.client.get("/predict").json()
        assert described["model"] == kit.NAME  # the older model keeps answering
        assert described["models"] == [kit.NAME, OTHER]
    with kit.Server(repository) as restarted:
        kit.set_champion(repository, 7, OTHER)
        assert restarted.client.get("/predict").json()["model"] == kit.NAME


def test_predict_answers_for_the_model_that_the_path_names(repository, data, first, second):
    kit.publish(repository, 7, second, data[0], name=OTHER, created=EARLIER)
    kit.set_champion(repository, 7, OTHER)
    pixels = data[0][0].tobytes()

    with kit.Server(repository) as server:
        for path, name, version, classifier in (
            ("/predict", OTHER, 7, second),  # the older model
            (f"/predict/{kit.NAME}", kit.NAME, 1, first),
            (f"/predict/{OTHER}", OTHER, 7, second),
        ):
            described = server.client.get(path).json()
            answer = server.client.post(path, content=pixels).json()
            assert (described["model"], described["version"]) == (name, version)
            assert (answer["model"], answer["version"]) == (name, version)
            assert np.allclose(answer["probabilities"], classifier.probabilities(data[0][:1])[0], atol=1e-4)
        for method in ("GET", "POST"):
            unknown = server.client.request(method, "/predict/nothing", content=pixels)
            assert (unknown.status_code, unknown.json()["error"]) == (404, "no such model is served here")


def test_the_default_model_can_be_named(repository, data, second):
    kit.publish(repository, 7, second, data[0], name=OTHER)
    kit.set_champion(repository, 7, OTHER)

    with kit.Server(repository, "--model", kit.NAME) as server:
        assert server.client.get("/predict").json()["model"] == kit.NAME
    with kit.Server(repository, "--model", "nothing") as server:
        assert server.stop() == 1
        assert kit.NAME in server.log[0]


def test_few_old_versions_stay_in_memory_and_all_can_be_asked(repository, data, first):
    for version in range(2, 6):
        kit.publish(repository, version, first, data[0])
    with kit.Server(repository, "--resident-versions", "2") as server:
        for version in (2, 3, 4, 5, 2):
            answer = server.client.post(
                f"/v2/models/{kit.NAME}/versions/{version}/infer", json=kit.inference_request(data[0][:1])
            )
            assert answer.json()["model_version"] == str(version)

        resident = [line for line in server.metrics().splitlines() if line.startswith("mnistflow_model_info{")]
    assert len(resident) == 3


@pytest.mark.hostile
def test_clients_that_leave_do_not_disturb_those_that_stay(repository, data, first):
    body = bytes(f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n", "ascii") + b" " * 2500
    expected = first.probabilities(data[0][:1])[0]
    with kit.Server(repository) as server, concurrent.futures.ThreadPoolExecutor(4) as pool:

        def leave(_):
            with raw(server) as connection:
                connection.sendall(body)
                # Closing with a reset, as a killed client does.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        def stay(_):
            answer = server.client.post(INFER, json=kit.inference_request(data[0][:1]))
            return np.allclose(answer.json()["outputs"][0]["data"], expected, atol=1e-4)

        leaving = pool.map(leave, range(200))
        assert all(pool.map(stay, range(200)))
        list(leaving)
        assert "Traceback" not in "\n".join(server.log)


@pytest.mark.hostile
def test_a_body_that_does_not_come_is_given_up(repository):
    with kit.Server(repository, "--receive-seconds", "0.2") as server, raw(server) as connection:
        connection.sendall(bytes(f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{", "ascii"))

        assert connection.recv(4096).startswith(b"HTTP/1.1 408")


@pytest.mark.hostile
def test_a_head_that_does_not_come_is_given_up(repository):
    with kit.Server(repository, "--receive-seconds", "1") as server, raw(server) as silent, raw(server) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")

        for connection in (silent, slow):
            assert ended(connection)
        assert server.client.get("/v2/health/ready").status_code == 200


def test_more_connections_than_allowed_are_turned_away_until_others_end(repository):
    with kit.Server(repository, "--max-connections", "2") as server:
        with raw(server) as one, raw(server), raw(server) as third:
            answer = third.recv(4096)
            assert answer.startswith(b"HTTP/1.1 503")
            assert b"retry-after: 1" in answer
            assert ended(third)

            one.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert one.recv(4096).startswith(b"HTTP/1.1 200")

        def is_answered():
            with raw(server) as later:
                later.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
                return later.recv(4096).startswith(b"HTTP/1.1 200")

        kit.wait_until(is_answered)


ENDLESS = {
    "request line": (b"GET /", b"a"),
    "header": (b"GET / HTTP/1.1\r\nHost: x\r\nA: ", b"b"),
    "headers": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"A: b\r\n"),
    "chunk extension": (b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a"),
    "trailers": (b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n"),
}


@pytest.mark.hostile
def test_what_does_not_end_is_cut_off(repository):
    with kit.Server(repository) as server:
        before = server.memory_peak_bytes()
        for start, more in ENDLESS.values():
            with raw(server) as connection:
                connection.sendall(start)

                with pytest.raises(ConnectionError):
                    for _ in range(1000):
                        connection.sendall(more * (100_000 // len(more)))

            assert server.memory_peak_bytes() - before < 20e6, start
            assert server.client.get("/v2/health/ready").status_code == 200


def test_requests_under_way_are_finished_before_the_server_leaves(repository):
    picture = np.random.default_rng(0).integers(200, 256, (2000, 2000), np.uint8)
    picture[500:1500, 900:1100] = 0
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG")
    body = content.getvalue()
    with kit.Server(repository) as server, raw(server) as connection:
        connection.sendall(bytes(f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n", "ascii"))
        connection.sendall(body[:-1])
        server.client.get("/v2/health/live")  # answered, so the request above is being read

        os.kill(server.pid, signal.SIGTERM)
        connection.sendall(body[-1:])

        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        assert server.stop() == 0


def test_many_images_at_once_are_all_right(repository, data):
    images, labels = data
    barrier = threading.Barrier(8)
    with kit.Server(repository) as server, concurrent.futures.ThreadPoolExecutor(8) as pool:

        def ask(start):
            barrier.wait()
            part = images[start : start + 100]
            answer = server.client.post(INFER, json=kit.inference_request(part)).json()
            return np.reshape(answer["outputs"][0]["data"], (-1, 10)).argmax(axis=1)

        given = np.concatenate(list(pool.map(ask, range(0, 800, 100))))
    assert (given == labels[:800]).mean() > 0.97


def test_a_candidate_that_is_too_slow_never_serves(repository, data, heavy):
    kit.publish(repository, 2, heavy, data[0])
    with kit.Server(repository, "--slowest-seconds", "0.0002") as server:
        kit.set_champion(repository, 2)
        kit.wait_until(lambda: any("version 2 is refused" in line for line in server.log))

        assert version_serving(server) == 1
        reason = server.client.post("/v2/repository/index").json()[1]["reason"]
        assert "the limit is 0.2 ms" in reason


def test_a_missing_repository_is_reported_once_and_loaded_models_keep_serving(repository, data, second):
    with kit.Server(repository, "--poll-seconds", "0.01") as server:
        aside = repository.rename(repository.with_name("aside"))
        kit.wait_until(lambda: any("cannot be read" in line for line in server.log))

        # Takes several times as long as the pause between two polls.
        assert {version_serving(server) for _ in range(200)} == {1}

        kit.publish(aside, 2, second, data[0])
        kit.set_champion(aside, 2)
        aside.rename(repository)
        kit.wait_until(lambda: version_serving(server) == 2)
        assert sum("cannot be read" in line for line in server.log) == 1
        assert "Traceback" not in "".join(server.log)


def test_nothing_is_written_at_home(repository, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    unset = ("env", "-u", "ORT_DISABLE_TELEMETRY")
    with kit.Server(repository, command=(*unset, sys.executable, "-m", "serving"), HOME=str(home)) as server:
        assert version_serving(server) == 1
    assert list(home.iterdir()) == []


def test_what_is_too_much_is_turned_away_at_once_and_the_rest_is_right(repository, data, heavy):
    images = data[0][:256]
    right = heavy.probabilities(images)
    kit.publish(repository, 2, heavy, data[0])
    kit.set_champion(repository, 2)
    with (
        kit.Server(repository, "--queue-rows", "256") as server,
        concurrent.futures.ThreadPoolExecutor(32) as pool,
    ):
        assert server.client.get("/v2/health/ready").status_code == 200

        def ask(_):
            raw_request = {"Inference-Header-Content-Length": "0"}
            return server.client.post(INFER, content=images.tobytes(), headers=raw_request)

        answers = list(pool.map(ask, range(96)))
        answered = [answer for answer in answers if answer.status_code == 200]
        refused = [answer for answer in answers if answer.status_code == 503]

        assert len(answered) + len(refused) == len(answers)
        assert {answer.headers["retry-after"] for answer in refused} == {"1"}
        for answer in (*answered, ask(None)):
            values = np.frombuffer(answer.content[-right.nbytes :], "<f4").reshape(right.shape)
            assert np.allclose(values, right, atol=1e-4)
