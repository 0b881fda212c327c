"""Endpoints beside the protocol's core: MLflow's, repository index, configuration, compression, overload."""

import concurrent.futures
import gzip
import json
import os
import re
import select
import socket
import threading
import zlib
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import serving_kit as kit

from serving.http.body_parser import MAX_INLINE_BYTES

pytestmark = pytest.mark.slow

INFER = f"/v2/models/{kit.NAME}/infer"


@pytest.fixture(scope="module")
def server(tmp_path_factory, data, first):
    folder = tmp_path_factory.mktemp("models")
    kit.publish(folder, 1, first, data[0])
    kit.set_champion(folder, 1)
    with kit.Server(folder) as running:
        yield running


def forms(images):
    flat = images.reshape(len(images), -1).tolist()
    columns = [str(number) for number in range(784)]
    return {
        "dataframe_split": {"columns": columns, "data": flat},
        "dataframe_records": [dict(zip(columns, row, strict=True)) for row in flat],
        "instances": images.tolist(),
        "inputs": {"images": images.tolist()},
    }


def predictions(answer):
    """Return the probabilities where clients of MLflow's onnx flavour look for them."""
    return answer.json()["predictions"]["probabilities"]


def test_invocations_take_all_four_forms_of_mlflow(server, data, first):
    images = data[0][:3]
    for form, value in forms(images).items():
        answer = server.client.post("/invocations", json={form: value})
        assert answer.status_code == 200, form
        assert answer.json().keys() == {"predictions"}
        assert np.allclose(predictions(answer), first.probabilities(images), atol=1e-5)


def test_the_other_endpoints_of_mlflows_server_are_there(server):
    for path in ("/ping", "/health"):
        assert server.client.get(path).status_code == 200
    assert server.client.get("/version").text == server.client.get("/v2").json()["version"]


def as_csv(images, newline="\n"):
    header = [f'"pixel ""{number}"""' for number in range(784)]
    return newline.join(",".join(map(str, row)) for row in (header, *images.reshape(len(images), -1).tolist(), ""))


@pytest.mark.parametrize("media", ["text/csv", "text/csv; charset=utf-8"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_invocations_take_csv(server, data, first, media, newline):
    for images in (data[0][:3], data[0][:3].astype(float)):
        answer = server.client.post("/invocations", content=as_csv(images, newline), headers={"content-type": media})
        assert np.allclose(predictions(answer), first.probabilities(data[0][:3]), atol=1e-5)


NO_CSV = {
    "nothing": "",
    "a header": "a,b\n",
    "too few columns": "a,b\n1,2\n",
    "a gap": as_csv(np.zeros((1, 28, 28), int)).replace("\n0,", "\n,"),
    "no pixel": as_csv(np.full((1, 28, 28), 256)),
    "a fraction": as_csv(np.full((1, 28, 28), 0.5)),
    "no number": as_csv(np.full((1, 28, 28), np.nan)),
    "too many rows": as_csv(np.zeros((1025, 28, 28), int)),
    "no text": b"a,b\n\xff,1\n",
    "NUL": "a,b\n\0,1\n",
    "a long field": "a\n" + "1" * 200_000 + "\n",
}


@pytest.mark.parametrize("content", NO_CSV.values(), ids=NO_CSV)
def test_a_wrong_csv_is_refused(server, content):
    answer = server.client.post("/invocations", content=content, headers={"content-type": "text/csv"})

    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"instances": []}',
        b'{"inputs": 1}',
        b'{"instances": [[1, 2]]}',
        b'{"instances": [[[1], [2, 3]]]}',
        b'{"instances": [null]}',
        b'{"dataframe_split": []}',
        b'{"dataframe_records": [1]}',
        json.dumps({"instances": [["a"] * 784]}).encode(),
        json.dumps({"instances": [[256] * 784]}).encode(),
    ],
)
def test_a_wrong_invocation_is_refused(server, data, first, body):
    answer = server.client.post("/invocations", content=body)

    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}
    right = server.client.post("/invocations", json={"instances": data[0][:1].tolist()}).json()
    assert np.allclose(right["predictions"]["probabilities"], first.probabilities(data[0][:1]), atol=1e-5)


@pytest.mark.parametrize("form", ["dataframe_split", "dataframe_records", "instances", "inputs", "csv", "v2"])
def test_large_bodies_are_answered_as_small_ones(server, data, first, form):
    images = np.resize(data[0], (512, 28, 28))
    bodies = {name: json.dumps({name: value}) for name, value in forms(images).items()}
    bodies |= {"csv": as_csv(images), "v2": json.dumps(kit.inference_request(images, data=images.tolist()))}
    assert len(bodies[form]) > MAX_INLINE_BYTES
    path, media = INFER if form == "v2" else "/invocations", "text/csv" if form == "csv" else "application/json"

    answer = server.client.post(path, content=bodies[form], headers={"content-type": media})

    values = answer.json()["outputs"][0]["data"] if form == "v2" else predictions(answer)
    assert np.allclose(np.reshape(values, (512, 10)), first.probabilities(images), atol=1e-5)


@pytest.mark.hostile
def test_health_checks_are_answered_while_large_bodies_are_parsed(repository):
    body = gzip.compress(b"a\n" + b"\n" * 8_000_000)  # a CSV that takes long, because it has no row at which to stop
    head = "POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Encoding: gzip\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with kit.Server(repository) as server, ExitStack() as stack:
        host, port = server.url.removeprefix("http://").split(":")
        senders = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(8)]
        for sender in senders:
            sender.sendall(request)
        for _ in range(20):
            assert server.client.get("/v2/health/live").is_success
        answered, _, _ = select.select(senders, [], [], 0)

        assert len(answered) < len(senders) // 2


@pytest.mark.hostile
def test_requests_to_the_repository_are_short(server):
    answer = server.client.post("/v2/repository/index", content=b'{"ready": true}'.ljust(100_000))

    assert answer.status_code == 413


def test_the_index_lists_all_versions_and_why_they_do_not_serve(repository, data, second):
    kit.write_version(repository, 2, b"no model", data[0][:4], second.probabilities(data[0][:4]))
    kit.publish(repository, 3, second, data[0])
    with kit.Server(repository) as server:

        def index(**asked):
            return server.client.post("/v2/repository/index", json=asked).json()

        kit.set_champion(repository, 2)
        kit.wait_until(lambda: "onnxruntime" in index()[1]["reason"])

        one, two, three = index()

        assert one == {"name": kit.NAME, "version": "1", "state": "READY", "reason": ""}
        assert (two["version"], two["state"]) == ("2", "UNAVAILABLE")
        assert (three["state"], three["reason"]) == ("UNAVAILABLE", "not loaded")
        assert server.client.post("/v2/repository/index").json() == [one, two, three]
        assert index(ready=True) == [one]
        assert set(index(ready=1)) == {"error"}


def test_the_configuration_is_written_as_triton_does(server):
    config = server.client.get(f"/v2/models/{kit.NAME}/config").json()

    assert config["name"] == kit.NAME
    assert config["input"] == [{"name": "images", "data_type": "TYPE_UINT8", "dims": [28, 28]}]
    assert config["max_batch_size"] == 1024


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [("gzip", "gzip"), ("deflate", "deflate"), ("br, gzip;q=0.5", "gzip"), ("gzip;q=0", None), ("identity", None)],
)
def test_answers_are_compressed_when_asked(server, data, first, accepted, encoding):
    images = data[0][:64]
    body = json.dumps(kit.inference_request(images))
    with server.client.stream("POST", INFER, content=body, headers={"accept-encoding": accepted}) as answer:
        raw = b"".join(answer.iter_raw())
    unpack: Any = {"gzip": gzip.decompress, "deflate": zlib.decompress, None: bytes}[encoding]

    assert answer.headers.get("content-encoding") == encoding
    values = json.loads(unpack(raw))["outputs"][0]["data"]
    assert np.allclose(np.reshape(values, (64, 10)), first.probabilities(images), atol=1e-5)


def waiting(server):
    (count,) = re.findall(r"^nv_inference_pending_request_count\{.*\} (\S+)$", server.metrics(), re.M)
    return float(count)


def test_who_waits_too_long_gets_504_and_is_counted_meanwhile(tmp_path, data, heavy):
    kit.publish(tmp_path, 1, heavy, data[0])
    kit.set_champion(tmp_path, 1)
    images = np.resize(data[0], (1024, 28, 28)).tobytes()
    clients = 2 * len(os.sched_getaffinity(0)) + 1  # more than can run at once: some wait for as long as others take
    statuses = set()
    is_enough = threading.Event()
    with kit.Server(tmp_path, "--queue-seconds", "0.05", "--queue-rows", "100000") as server:

        def ask():
            while not is_enough.is_set():
                answer = server.client.post(INFER, content=images, headers={"inference-header-content-length": "0"})
                statuses.add(answer.status_code)

        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            asking = [pool.submit(ask) for _ in range(clients)]
            try:
                kit.wait_until(lambda: waiting(server) > 0)
                kit.wait_until(lambda: len(statuses) > 1)
            finally:
                is_enough.set()
        assert not any(client.exception() for client in asking)
        assert statuses == {200, 504}
        assert waiting(server) == 0
        assert server.client.post(INFER, json=kit.inference_request(data[0][:1])).status_code == 200


PAGE, OTHER_PAGE = {"origin": "https://app.example.org"}, {"origin": "https://example.org"}
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}


def ask_from_page(server, page, **headers):
    """Return the preflight's answer and the call's, of which a browser shows the second if both allow it."""
    preflight = server.client.options(INFER, headers=page | PREFLIGHT)
    return preflight, server.client.post(INFER, json={}, headers=page | headers)


def sharing(answer):
    return {name for name in answer.headers if name.startswith("access-control-")}


def test_pages_of_other_origins_may_not_call(server):
    preflight, call = ask_from_page(server, PAGE)

    assert preflight.status_code == 405
    assert not sharing(preflight) | sharing(call)


def test_pages_of_the_origins_that_are_named_may_call(repository):
    arguments = ("--cors-origins", "https://one.example.org, https://app.example.org", "--keys", "first")
    with kit.Server(repository, *arguments) as server:
        preflight, call = ask_from_page(server, PAGE)
        assert (preflight.status_code, call.status_code) == (200, 401)
        for answer in (preflight, call, server.client.get("/page/script.js", headers=PAGE)):
            assert answer.headers["access-control-allow-origin"] == PAGE["origin"]
            assert "origin" in answer.headers["vary"].split(", ")
        assert "POST" in preflight.headers["access-control-allow-methods"]
        assert "authorization" in preflight.headers["access-control-allow-headers"]
        assert ask_from_page(server, PAGE, authorization="Bearer first")[1].status_code == 400
        for page in (OTHER_PAGE, {"origin": "null"}, {"origin": "https://app.example.org.evil.org"}, {}):
            preflight, call = ask_from_page(server, page)
            assert preflight.status_code == 405
            assert not sharing(preflight) | sharing(call)
            assert call.headers["vary"] == "origin"


def test_pages_of_all_origins_may_call_where_that_is_said(repository):
    with kit.Server(repository, MNISTFLOW_SERVE_CORS_ORIGINS="*") as server:
        for answer in ask_from_page(server, OTHER_PAGE):
            assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer first,second", "Basic first", "first"])
def test_without_a_key_only_health_and_the_page_answer(repository, data, authorization):
    headers = {} if authorization is None else {"authorization": authorization}
    with kit.Server(repository, MNISTFLOW_SERVE_KEYS="first, second") as server:
        refused = server.client.post(INFER, json=kit.inference_request(data[0][:1]), headers=headers)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        for path in ("/predict", "/metrics", f"/v2/models/{kit.NAME}", "/v2"):
            assert server.client.get(path, headers=headers).status_code == 401, path
        assert server.client.post("/invocations", headers=headers).status_code == 401
        for path in ("/", "/ping", "/health", "/v2/health/live", "/v2/health/ready"):
            assert server.client.get(path, headers=headers).status_code == 200, path
        assert not any("first" in line for line in server.log)


@pytest.mark.parametrize("authorization", ["Bearer first", "bearer second"])
def test_every_key_is_accepted(repository, data, first, authorization):
    with kit.Server(repository, MNISTFLOW_SERVE_KEYS="first, second") as server:
        answer = server.client.post(
            INFER, json=kit.inference_request(data[0][:1]), headers={"authorization": authorization}
        ).json()
    assert np.allclose(answer["outputs"][0]["data"], first.probabilities(data[0][:1])[0], atol=1e-5)
