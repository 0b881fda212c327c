"""The server against the Open Inference Protocol v2 and Triton's extension for binary tensors, clause by clause.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import gzip
import json
import zlib
from typing import Any

import numpy as np
import pytest
import serving_kit as kit

MODEL = f"/v2/models/{kit.NAME}"
HEADER_LENGTH = "Inference-Header-Content-Length"


def values(answer):
    (output,) = answer["outputs"]
    return np.reshape(output["data"], output["shape"])


def post_binary(server, tree, blobs, path=MODEL + "/infer", **headers):
    header = json.dumps(tree).encode()
    return server.client.post(path, content=header + blobs, headers={HEADER_LENGTH: str(len(header))} | headers)


def binary_tensor(images):
    size = {"binary_data_size": images.nbytes}
    return {"name": "images", "datatype": "UINT8", "shape": list(images.shape), "parameters": size}


def read_binary(response):
    length = int(response.headers[HEADER_LENGTH])
    return json.loads(response.content[:length]), response.content[length:]


@pytest.mark.parametrize(
    "path",
    ["/v2/health/live", "/v2/health/ready", MODEL + "/ready", MODEL + "/versions/1/ready", MODEL + "/versions/2/ready"],
)
def test_what_is_healthy_answers_200_with_json(server, path):
    response = server.client.get(path)

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert True in response.json().values()


def test_server_metadata_name_the_extension(server):
    metadata = server.client.get("/v2").json()

    assert metadata["name"] == "mnistflow"
    assert "binary_tensor_data" in metadata["extensions"]
    assert isinstance(metadata["version"], str)


@pytest.mark.parametrize("path", [MODEL, MODEL + "/versions/1"])
def test_model_metadata_give_the_signature(server, path):
    assert server.client.get(path).json() == {
        "name": kit.NAME,
        "versions": ["1", "2"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, 28, 28]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}],
    }


@pytest.mark.parametrize(("path", "version"), [("", 2), ("/versions/1", 1), ("/versions/2", 2)])
def test_a_version_answers_when_named_and_the_champion_otherwise(server, images, classifiers, path, version):
    answer = server.client.post(f"{MODEL}{path}/infer", json=kit.inference_request(images)).json()

    assert answer["model_name"] == kit.NAME
    assert answer["model_version"] == str(version)
    assert np.allclose(values(answer), classifiers[version].probabilities(images), atol=1e-5)


def test_the_id_is_echoed_and_not_made_up(server, images):
    with_id = {"id": "7 \u00e4 \U0001f642", **kit.inference_request(images)}

    assert server.client.post(MODEL + "/infer", json=with_id).json()["id"] == with_id["id"]
    assert "id" not in server.client.post(MODEL + "/infer", json=kit.inference_request(images)).json()


@pytest.mark.parametrize(
    "outputs", [None, [], [{"name": "probabilities"}], [{"name": "probabilities", "parameters": {}}]]
)
def test_no_outputs_means_all(server, images, outputs):
    answer = server.client.post(MODEL + "/infer", json={**kit.inference_request(images), "outputs": outputs}).json()

    assert [output["name"] for output in answer["outputs"]] == ["probabilities"]


def test_unknown_parameters_are_tolerated_everywhere(server, images):
    unknown = {"priority": 3, "note": "x", "flag": True, "share": 0.5}
    tree = kit.inference_request(images, parameters=unknown) | {"parameters": unknown}
    tree["outputs"] = [{"name": "probabilities", "parameters": unknown}]

    assert server.client.post(MODEL + "/infer", json=tree).status_code == 200


@pytest.mark.parametrize("media", [None, "application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_json_is_taken_with_or_without_its_content_type(server, images, media):
    headers = {} if media is None else {"content-type": media}

    response = server.client.post(MODEL + "/infer", content=json.dumps(kit.inference_request(images)), headers=headers)

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("by_default", "of_output", "is_binary"),
    [(None, None, False), (True, None, True), (False, True, True), (True, False, False), (False, None, False)],
)
def test_an_outputs_own_wish_for_binary_wins_over_the_requests(
    server, images, classifiers, by_default, of_output, is_binary
):
    tree: dict[str, Any] = {"inputs": [binary_tensor(images)]}
    if by_default is not None:
        tree["parameters"] = {"binary_data_output": by_default}
    parameters = {} if of_output is None else {"binary_data": of_output}
    tree["outputs"] = [{"name": "probabilities", "parameters": parameters}]

    response = post_binary(server, tree, images.tobytes())

    expected = classifiers[2].probabilities(images)
    if is_binary:
        answer, blob = read_binary(response)
        assert response.headers["content-type"] == "application/octet-stream"
        assert answer["outputs"][0]["parameters"] == {"binary_data_size": expected.nbytes}
        assert "data" not in answer["outputs"][0]
        assert np.allclose(np.frombuffer(blob, "<f4").reshape(expected.shape), expected, atol=1e-6)
    else:
        assert HEADER_LENGTH not in response.headers
        assert np.allclose(values(response.json()), expected, atol=1e-6)


def test_a_header_length_of_the_whole_body_is_plain_json(server, images):
    assert post_binary(server, kit.inference_request(images), b"").status_code == 200


def test_a_header_length_of_0_is_one_raw_tensor(server, images, classifiers):
    response = server.client.post(MODEL + "/infer", content=images.tobytes(), headers={HEADER_LENGTH: "0"})

    answer, blob = read_binary(response)
    assert answer["outputs"][0]["shape"] == [len(images), 10]
    assert np.allclose(np.frombuffer(blob, "<f4").reshape(-1, 10), classifiers[2].probabilities(images), atol=1e-6)


@pytest.mark.parametrize("headers", [{}, {"content-type": "application/octet-stream"}], ids=["no type", "bytes"])
@pytest.mark.parametrize("start", ["pixels", "white pixels", "JSON"])
def test_bytes_without_their_header_length_are_an_error_that_names_the_header(server, images, start, headers):
    body = images.tobytes() if start == "pixels" else bytes([255] * images.size)
    if start == "JSON":
        body = json.dumps({"inputs": [binary_tensor(images)]}).encode() + images.tobytes()

    response = server.client.post(MODEL + "/infer", content=body, headers=headers)

    assert response.status_code == 400
    assert f"header {HEADER_LENGTH} is missing" in response.json()["error"]
    assert "JSON" in response.json()["error"]
    assert "0 if the body is only the bytes of the input" in response.json()["error"]
    assert server.client.post(MODEL + "/infer", json=kit.inference_request(images)).status_code == 200


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b'{"inputs": [1, 2', {}, "not valid JSON: unexpected end of data (at character 16)"),
        (b"ink", {}, "not valid JSON"),
        (b"{,}", {HEADER_LENGTH: "2"}, "The first 2 bytes must be the JSON"),
        (b"~" * 784, {"content-type": "application/octet-stream"}, f"header {HEADER_LENGTH} is missing"),
    ],
    ids=["JSON cut off", "text", "wrong length", "bytes that are text"],
)
def test_what_is_not_json_is_an_error_that_says_how_to_fix_it(server, body, headers, expected):
    response = server.client.post(MODEL + "/infer", content=body, headers=headers)

    assert response.status_code == 400
    assert expected in response.json()["error"]


def broken(**changes):
    return kit.inference_request(np.zeros((1, 28, 28), np.uint8), **changes)


ERRORS = {
    "no such model": ("GET", "/v2/models/nothing", None, 404),
    "no such model to infer": ("POST", "/v2/models/nothing/infer", broken(), 404),
    "no such version": ("POST", MODEL + "/versions/3/infer", broken(), 404),
    "version 0": ("GET", MODEL + "/versions/0", None, 404),
    "version with a sign": ("GET", MODEL + "/versions/+1", None, 404),
    "version beyond numbers": ("GET", MODEL + "/versions/" + "9" * 400, None, 404),
    "no such path": ("GET", "/v2/nothing", None, 404),
    "reading by POST": ("POST", MODEL, broken(), 405),
    "inferring by GET": ("GET", MODEL + "/infer", None, 405),
    "inferring by PUT": ("PUT", MODEL + "/infer", broken(), 405),
    "not JSON": ("POST", MODEL + "/infer", b"{", 400),
    "id not a string": ("POST", MODEL + "/infer", broken() | {"id": 7}, 400),
    "inputs missing": ("POST", MODEL + "/infer", {}, 400),
    "inputs no list": ("POST", MODEL + "/infer", {"inputs": {}}, 400),
    "input unknown": ("POST", MODEL + "/infer", broken(name="x"), 400),
    "datatype of another": ("POST", MODEL + "/infer", broken(datatype="FP32"), 400),
    "datatype unknown": ("POST", MODEL + "/infer", broken(datatype="UINT7"), 400),
    "shape of another": ("POST", MODEL + "/infer", broken(shape=[1, 784]), 400),
    "data too short": ("POST", MODEL + "/infer", broken(data=[0]), 400),
    "data out of range": ("POST", MODEL + "/infer", broken(data=[300] * 784), 400),
    "parameters no object": ("POST", MODEL + "/infer", broken() | {"parameters": []}, 400),
    "output unknown": ("POST", MODEL + "/infer", broken() | {"outputs": [{"name": "x"}]}, 400),
    "outputs no list": ("POST", MODEL + "/infer", broken() | {"outputs": "probabilities"}, 400),
}


@pytest.mark.hostile
@pytest.mark.parametrize(("method", "path", "body", "status"), ERRORS.values(), ids=ERRORS)
def test_an_error_is_a_status_and_an_object_with_the_error(server, method, path, body, status):
    content = body if body is None or isinstance(body, bytes) else json.dumps(body)

    response = server.client.request(method, path, content=content)

    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    assert isinstance(response.json()["error"], str)
    if status == 405:
        assert "allow" in response.headers


@pytest.mark.parametrize("media", ["text/xml", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"])
def test_other_media_are_415(server, images, media):
    body = json.dumps(kit.inference_request(images))

    assert server.client.post(MODEL + "/infer", content=body, headers={"content-type": media}).status_code == 415


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_bodies_are_inflated(server, images, encoding, pack):
    body = json.dumps(kit.inference_request(images)).encode()
    plain = server.client.post(MODEL + "/infer", content=body)
    head = json.dumps({"inputs": [binary_tensor(images)]}).encode()
    lengths = {"content-encoding": encoding, HEADER_LENGTH: str(len(head))}

    packed = server.client.post(MODEL + "/infer", content=pack(body), headers={"content-encoding": encoding})
    binary = server.client.post(MODEL + "/infer", content=pack(head + images.tobytes()), headers=lengths)

    assert packed.status_code == binary.status_code == 200
    assert packed.json() == plain.json() == binary.json()


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("br", b"anything", 415),
        ("gzip", b"no gzip", 400),
        ("gzip", gzip.compress(b"{}")[:-4], 400),
        ("gzip", gzip.compress(b"{}") + b"more", 400),
        ("gzip", gzip.compress(bytes(10**8), 1), 413),
    ],
    ids=["unknown", "none", "truncated", "trailing", "bomb"],
)
def test_bodies_that_do_not_inflate_are_refused(server, encoding, body, status):
    response = server.client.post(MODEL + "/infer", content=body, headers={"content-encoding": encoding})

    assert response.status_code == status
    assert server.memory_peak_bytes() < 300e6


@pytest.mark.parametrize("length", ["", "-1", "1.5", "0x10", "9" * 30, "\u0663".encode()])
def test_a_header_length_that_is_no_length_is_400(server, images, length):
    body = json.dumps(kit.inference_request(images))

    assert server.client.post(MODEL + "/infer", content=body, headers={HEADER_LENGTH: length}).status_code == 400


@pytest.mark.parametrize("change", [-1, 1])
def test_bytes_too_few_or_too_many_are_400(server, images, change):
    blob = images.tobytes()
    blob = blob[:change] if change < 0 else blob + bytes(change)

    assert post_binary(server, {"inputs": [binary_tensor(images)]}, blob).status_code == 400
