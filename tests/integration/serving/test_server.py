"""The prediction server as a real process, over real HTTP, with models trained on real digits."""

import base64
import concurrent.futures
import functools
import io
import itertools
import json
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
import time
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import image_faults
import many_digits
import numpy as np
import psutil
import pytest
import serving_kit as kit
from cluster import free_port
from PIL import Image
from waiting import WAIT_SECONDS

INFER = f"/v2/models/{kit.NAME}/infer"


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, data: tuple[np.ndarray, np.ndarray], first: kit.Classifier
) -> Iterator[kit.Server]:
    folder = tmp_path_factory.mktemp("models")
    kit.publish(folder, 1, first, data[0])
    kit.set_champion(folder, 1)
    with kit.Server(folder, "--max-body-bytes", "2000000") as running:
        yield running


def still_right(server: kit.Server, data: tuple[np.ndarray, np.ndarray], first: kit.Classifier) -> bool:
    answer = server.client.post(INFER, json=kit.inference_request(data[0][:2])).json()
    given = np.array(answer["outputs"][0]["data"]).reshape(2, 10)
    return np.allclose(given, first.probabilities(data[0][:2]), atol=1e-4)


@pytest.fixture
def attacked(server: kit.Server, data: tuple[np.ndarray, np.ndarray], first: kit.Classifier) -> Iterator[kit.Server]:
    """The server, which afterwards has to be live and right as before, and never to have taken much memory."""
    yield server
    assert server.client.get("/v2/health/live").is_success
    assert still_right(server, data, first)
    assert server.memory_peak_bytes() < 300e6


def test_metadata_and_health_as_the_protocol_says(server: kit.Server) -> None:
    assert set(server.client.get("/v2").json()) == {"name", "version", "extensions"}
    assert server.client.get("/v2/health/live").json() == {"live": True}
    assert server.client.get("/v2/health/ready").json() == {"ready": True}
    model = server.client.get(f"/v2/models/{kit.NAME}").json()
    assert model["versions"] == ["1"]
    assert model["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 28, 28]}]
    assert model["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}]
    assert server.client.get(f"/v2/models/{kit.NAME}/versions/1/ready").is_success


@pytest.mark.parametrize("nested", [True, False])
def test_infer_gives_what_the_model_computes(server, data, first, nested) -> None:
    images = data[0][:7]
    payload = images.tolist() if nested else images.ravel().tolist()
    answer = server.client.post(INFER, json={"id": "a-7", **kit.inference_request(images, data=payload)}).json()
    assert answer["id"] == "a-7"
    assert answer["model_version"] == "1"
    (output,) = answer["outputs"]
    assert output["shape"] == [7, 10]
    assert np.allclose(np.array(output["data"]).reshape(7, 10), first.probabilities(images), atol=1e-5)


def test_binary_tensors_both_ways(server, data, first) -> None:
    images = data[0][:5]
    tensor = {
        "name": "images",
        "datatype": "UINT8",
        "shape": [5, 28, 28],
        "parameters": {"binary_data_size": images.nbytes},
    }
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    answer = server.client.post(
        INFER,
        content=header + images.tobytes(),
        headers={"Inference-Header-Content-Length": str(len(header))},
    )
    length = int(answer.headers["Inference-Header-Content-Length"])
    given = np.frombuffer(answer.content[length:], "<f4").reshape(5, 10)
    assert np.allclose(given, first.probabilities(images), atol=1e-5)


HOSTILE_TENSORS = {
    "negative dimension": {"shape": [-1, 28, 28]},
    "overflowing shape": {"shape": [16, 2**60 + 2]},
    "huge shape": {"shape": [2**40, 28, 28]},
    "bool dimension": {"shape": [True, 28, 28]},
    "float dimension": {"shape": [1.0, 28, 28]},
    "wrong rank": {"shape": [784]},
    "wrong name": {"name": "pictures"},
    "wrong datatype": {"datatype": "FP32"},
    "too little data": {"data": [0]},
    "value above range": {"data": [256] * 784},
    "negative value": {"data": [-1] * 784},
    "fraction": {"data": [0.5] * 784},
    "bool value": {"data": [True] * 784},
    "text": {"data": ["0"] * 784},
    "null": {"data": None},
}


@pytest.mark.hostile
@pytest.mark.parametrize("change", HOSTILE_TENSORS.values(), ids=HOSTILE_TENSORS)
def test_a_hostile_tensor_is_refused_and_nothing_else_happens(attacked, data, change) -> None:
    answer = attacked.client.post(INFER, json=kit.inference_request(data[0][:1], **change))
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}


HOSTILE_BODIES = {
    "empty": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "not UTF-8": b'{"inputs": "\xff"}',
    "deep and open": b"[" * 250_000,
    "no inputs": b'{"inputs": []}',
    "two of one": json.dumps(
        {"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 28, 28], "data": [0] * 784}] * 2}
    ).encode(),
}


@pytest.mark.hostile
@pytest.mark.parametrize("body", HOSTILE_BODIES.values(), ids=HOSTILE_BODIES)
def test_a_hostile_body_is_refused_and_nothing_else_happens(attacked, body) -> None:
    answer = attacked.client.post(INFER, content=body)
    assert answer.status_code == 400
    assert "Traceback" not in answer.text


DEEP = {
    "data": ({"data": "deep"}, {}),
    "parameters of an input": ({"parameters": {"x": "deep"}}, {}),
    "parameters": ({}, {"parameters": {"x": "deep"}}),
    "inputs": ({}, {"inputs": "deep"}),
}


@pytest.mark.hostile
@pytest.mark.parametrize("depth", [200, 2_000, 250_000])
@pytest.mark.parametrize(("of_tensor", "of_request"), DEEP.values(), ids=DEEP)
def test_values_nested_deeply_are_refused(attacked, data, of_tensor, of_request, depth) -> None:
    asked = kit.inference_request(data[0][:1], **of_tensor) | of_request
    body = json.dumps(asked).replace('"deep"', "[" * depth + "]" * depth)
    answer = attacked.client.post(INFER, content=body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}


@pytest.mark.hostile
@pytest.mark.parametrize("length", ["-1", "x", "99999999", "1"])
def test_a_wrong_header_length_is_refused(attacked, data, length) -> None:
    body = json.dumps(kit.inference_request(data[0][:1])).encode()
    answer = attacked.client.post(INFER, content=body, headers={"Inference-Header-Content-Length": length})
    assert answer.status_code == 400


@pytest.mark.hostile
@pytest.mark.parametrize("outputs", [[{"name": "logits"}], [{"name": "probabilities"}] * 2])
def test_unknown_and_repeated_outputs_are_refused(attacked, data, outputs) -> None:
    answer = attacked.client.post(INFER, json={**kit.inference_request(data[0][:1]), "outputs": outputs})
    assert answer.status_code == 400


@pytest.mark.hostile
@pytest.mark.parametrize(
    "name", ["", "%2e%2e", "%2e%2e%2f%2e%2e%2fetc", "a%00b", "..%5c..", "nothing", "%20", "digits-classifier%2f1"]
)
def test_no_name_leads_out_of_the_repository(attacked, name) -> None:
    for answer in (
        attacked.client.get(f"/v2/models/{name}"),
        attacked.client.post(f"/v2/models/{name}/infer", content=b"{}"),
    ):
        assert 400 <= answer.status_code < 500
        assert "/" not in answer.json()["error"].removesuffix("/docs lists the endpoints")


def test_wrong_methods_types_and_sizes_have_their_own_status(attacked) -> None:
    assert attacked.client.get(INFER).status_code == 405
    assert attacked.client.get("/nowhere").status_code == 404
    assert attacked.client.post(INFER, content=b"a=1", headers={"content-type": "text/plain"}).status_code == 415
    assert attacked.client.post(INFER, content=b" " * 2_000_001).status_code == 413
    assert attacked.client.post(INFER, content=(b" " * 500_000 for _ in range(5))).status_code == 413


GZIP, ZLIB = 31, 15  # formats of the same compression, as zlib numbers them


@functools.cache
def packed_zeros(megabytes: int, form: int) -> bytes:
    """Return about 1 KB for each megabyte; the end, which nobody should come to, is missing."""
    packer = zlib.compressobj(9, wbits=form)
    first, again = (packer.compress(bytes(1_000_000)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + again * (megabytes - 1)


@pytest.mark.hostile
@pytest.mark.parametrize("path", [INFER, "/predict", "/invocations"])
def test_a_gzip_bomb_is_not_unpacked(attacked, path) -> None:
    content = packed_zeros(1500, GZIP)
    assert len(content) < 2_000_000
    answer = attacked.client.post(path, content=content, headers={"content-encoding": "gzip"})
    assert answer.status_code == 413


@pytest.mark.hostile
def test_a_flood_of_tiny_chunks_is_cut_off(attacked) -> None:
    host, port = attacked.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST {INFER} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        try:
            for _ in range(65_537):
                connection.sendall(b"1\r\n \r\n")
            connection.sendall(b"0\r\n\r\n")
            answer = connection.recv(65_536)
        except ConnectionError:
            answer = b"HTTP/1.1 413 connection closed"
    assert answer.startswith(b"HTTP/1.1 4")


def sent(path: str, body: bytes, *headers: str) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


def answers(server: kit.Server, pieces: list[bytes], count: int) -> list[tuple[int, bytes]]:
    """Return status and body of so many answers on one connection, to pieces sent with a pause behind each."""
    host, port = server.url.removeprefix("http://").split(":")
    found = []
    with (
        socket.create_connection((host, int(port)), timeout=WAIT_SECONDS) as connection,
        connection.makefile("rb") as stream,
    ):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.02)
        for _ in range(count):
            status = int(stream.readline().split()[1])
            lines = itertools.takewhile(bytes.strip, stream)
            headers = dict(line.lower().rstrip().split(b": ", 1) for line in lines)
            found.append((status, stream.read(int(headers[b"content-length"]))))
    return found


CUTS = {
    "each as a whole": lambda requests: requests,
    "all at once": lambda requests: [b"".join(requests)],
    "a head alone": lambda requests: [part for whole in requests for part in whole.partition(b"\r\n\r\n")],
    "two halves together": lambda requests: _shifted(requests, 100),
    "the last byte late": lambda requests: _shifted(requests, -1),
    "broken off within the end of the head": lambda requests: _shifted(requests, requests[0].index(b"\r\n\r\n") + 2),
}


def _shifted(requests: list[bytes], cut: int) -> list[bytes]:
    whole = b"".join(requests)
    starts = itertools.accumulate(map(len, requests[:-1]), initial=0)
    places = [0, *(start + cut % len(request) for start, request in zip(starts, requests, strict=True)), len(whole)]
    return [whole[start:end] for start, end in itertools.pairwise(places)]


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS.keys())
def test_requests_with_the_same_head_are_each_answered_however_they_arrive(server, data, first, cut) -> None:
    images = data[0][:6]
    bodies = [json.dumps(kit.inference_request(image[None])).encode() for image in images]
    # Of two lengths, so that heads come again and do not.
    bodies = [body.ljust(4000 + number % 2) for number, body in enumerate(bodies)]
    found = answers(server, cut([sent(INFER, body) for body in bodies]), len(bodies))
    assert [status for status, _ in found] == [200] * len(bodies)
    probabilities = [json.loads(body)["outputs"][0]["data"] for _, body in found]
    assert np.allclose(probabilities, first.probabilities(images), atol=1e-5)


@pytest.mark.hostile
def test_a_length_of_thousands_of_digits_is_a_number_like_others(server, data) -> None:
    good = sent(INFER, json.dumps(kit.inference_request(data[0][:1])).encode())
    padded = good.replace(b"Content-Length: ", b"Content-Length: " + b"0" * 5000)
    assert [status for status, _ in answers(server, [padded[:6000], padded[6000:], padded], 2)] == [200, 200]


@pytest.mark.slow
@pytest.mark.hostile
@pytest.mark.parametrize("length", [4000, 60_000])
def test_requests_of_a_client_that_reads_no_answers_are_left_in_the_network(server, data, length) -> None:
    request = sent(INFER, json.dumps(kit.inference_request(data[0][:1])).encode().ljust(length))
    assert len(answers(server, [request] * 2, 2)) == 2  # so that the head has come before
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        for _ in range(400):  # one by one, so that none waits behind another
            connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
            time.sleep(0.003)
        taken = 0
        while taken < 100_000_000 and select.select([], [connection], [], 1)[1]:
            taken += connection.send(request)
    assert taken < 50_000_000


@pytest.mark.hostile
@pytest.mark.parametrize("length", ["10", "+4000", "4000, 4000", "0x10", "", "4000\r\nContent-Length: 4000"])
def test_a_known_head_with_another_length_is_read_anew(server, data, length) -> None:
    good = sent(INFER, json.dumps(kit.inference_request(data[0][:1])).encode().ljust(4000))
    bad = good.replace(b"Content-Length: 4000", f"Content-Length: {length}".encode())
    found = answers(server, [good, good, bad], 3)
    assert [status for status, _ in found] == [200, 200, 400]


def test_pictures_of_all_kinds_are_read(server, data) -> None:
    images, labels = data
    right = 0
    for image, label in zip(images[:40], labels[:40], strict=True):
        large = Image.fromarray(255 - image).resize((140, 140), Image.Resampling.BICUBIC)
        content = io.BytesIO()
        large.save(content, ("PNG", "JPEG", "WEBP", "BMP")[label % 4])
        answer = server.client.post("/predict", content=content.getvalue()).json()
        url = b"data:image/png;base64," + base64.b64encode(content.getvalue())
        assert server.client.post("/predict", content=url).json()["probabilities"] == answer["probabilities"]
        right += answer["label"] == label
        assert answer["model"] == kit.NAME
        assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-4)
    assert right >= 28  # the classifier is linear and knows blurred strokes only, which preprocessing sharpens


@pytest.mark.parametrize("media", ["", "application/octet-stream", "application/x-www-form-urlencoded"])
def test_raw_bytes_are_taken_as_they_are_whatever_they_are_called(server, data, first, media) -> None:
    answer = server.client.post("/predict", content=data[0][3].tobytes(), headers={"content-type": media}).json()
    assert np.allclose(answer["probabilities"], first.probabilities(data[0][3:4])[0], atol=1e-5)


@pytest.mark.parametrize("media", ["application/octet-stream", "application/x-www-form-urlencoded"])
def test_what_has_as_many_bytes_as_pixels_is_still_read_as_what_it_is(server, data, media) -> None:
    def ask(content: bytes) -> dict:
        return server.client.post("/predict", content=content, headers={"content-type": media}).json()

    picture = as_png(data[0][0], 28)
    padded = picture.ljust(784, b"\0")
    listed = json.dumps({"images": [base64.b64encode(picture).decode()]}).encode().ljust(784)
    assert len(padded) == len(listed) == 784
    right = ask(picture)["probabilities"]
    assert ask(padded)["probabilities"] == right
    assert ask(listed)["predictions"][0]["probabilities"] == right


@functools.cache
def bomb() -> bytes:
    content = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(content, "PNG")
    return content.getvalue()


def text_bomb() -> bytes:
    text = b"zTXtComment\0\0" + packed_zeros(400, ZLIB)
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    head, sheet = 33, blank()
    return sheet[:head] + chunk + sheet[head:]


def blank() -> bytes:
    content = io.BytesIO()
    Image.new("L", (50, 50), 255).save(content, "PNG")
    return content.getvalue()


def two_bars() -> bytes:
    sheet = Image.new("L", (120, 80), 255)
    for left in (30, 80):
        sheet.paste(0, (left, 20, left + 6, 60))
    content = io.BytesIO()
    sheet.save(content, "PNG")
    return content.getvalue()


def test_several_digits_are_doubt_unless_they_are_asked_for(attacked) -> None:
    answer = attacked.client.post("/predict", content=two_bars()).raise_for_status().json()
    assert answer["label"] is not None
    assert (answer["uncertain"], answer["reason"]) == (
        True,
        "the image shows several digits: send it with ?digits=many",
    )
    many = attacked.client.post("/predict?digits=many", content=two_bars()).raise_for_status().json()
    assert len(many["digits"]) == 2


@pytest.mark.hostile
def test_nothing_written_is_doubt(attacked) -> None:
    answer = attacked.client.post("/predict", content=blank()).raise_for_status().json()
    assert (answer["label"], answer["class_name"], answer["probabilities"]) == (None, None, None)
    assert (answer["uncertain"], answer["reason"]) == (True, "no ink found in the image")
    assert answer["prediction_set"] == attacked.client.get("/predict").json()["classes"]
    ink = base64.b64encode(bytes(range(0, 256)) * 3 + bytes(16)).decode()
    listed = {"images": [base64.b64encode(blank()).decode(), ink]}
    empty, drawn = attacked.client.post("/predict", json=listed).raise_for_status().json()["predictions"]
    assert empty["label"] is None
    assert drawn["label"] is not None


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"II*\0", 415),
        (b"\x89PNG\r\n\x1a\nrubbish", 400),
        (b"\xff\xd8\xff\xe0", 400),
        (bomb(), 413),
        (text_bomb(), 400),
        (b"http://127.0.0.1/digit.png", 415),
        (b"data:image/png,plain", 400),
        (b"data:image/png;base64,????", 400),
        (b"data:image/png;base64," + base64.b64encode(bomb()), 413),
    ],
    ids=[
        "empty",
        "tiff",
        "broken png",
        "broken jpeg",
        "bomb",
        "text bomb",
        "url",
        "no base64",
        "bad base64",
        "packed bomb",
    ],
)
def test_what_is_no_usable_picture_is_explained(attacked, body, status) -> None:
    answer = attacked.client.post("/predict", content=body)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}


@pytest.mark.hostile
def test_a_form_is_refused_with_the_way_to_send_an_image(attacked) -> None:
    answer = attacked.client.post("/predict", files={"file": ("digit.png", as_png(STROKE), "image/png")})
    assert answer.status_code == 415
    assert "--data-binary" in answer.json()["error"]


def as_png(image: np.ndarray, side: int = 140) -> bytes:
    content = io.BytesIO()
    Image.fromarray(255 - image).resize((side, side), Image.Resampling.BICUBIC).save(content, "PNG")
    return content.getvalue()


def test_several_pictures_are_answered_as_each_alone(server, data) -> None:
    images = data[0][:5]
    files = [as_png(image) for image in images]
    texts = [base64.b64encode(content).decode() for content in files]
    texts[1] = "data:image/png;base64," + texts[1]
    texts[4] = base64.b64encode(images[4].tobytes()).decode()
    files[4] = images[4].tobytes()

    together = server.client.post("/predict?input=1", json={"images": texts}).json()

    assert {"model", "version", "id", "milliseconds", "predictions"} == together.keys()
    for content, prediction in zip(files, together["predictions"], strict=True):
        alone = server.client.post("/predict?input=1", content=content).json()
        assert prediction["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-5)
        explained = ("label", "class_name", "input", "box", "steps")
        assert {key: prediction[key] for key in explained} == {key: alone[key] for key in explained}
    names = [[step["name"] for step in prediction["steps"]] for prediction in together["predictions"]]
    assert names == [["image", "background", "ink", "digit", "input"]] * 4 + [["image", "input"]]
    many = server.client.post("/predict?input=1", json={"images": [texts[4]] * 17}).json()["predictions"]
    assert all("input" in prediction and "steps" not in prediction for prediction in many)


def test_a_number_is_answered_digit_by_digit(server, data) -> None:
    images, labels = data[0][:3], data[1][:3]
    file = many_digits.write([image_faults.from_outline(image) for image in images], "spaced", seed=0)

    number = server.client.post("/predict?digits=many&input=1", content=file).raise_for_status().json()
    listed = {"images": [base64.b64encode(content).decode() for content in (file, as_png(images[0]))]}
    several = server.client.post("/predict?digits=many", json=listed).raise_for_status().json()["predictions"]
    alone = server.client.post("/predict", content=as_png(images[0])).json()

    assert [digit["class_name"] for digit in number["digits"]] == list(number["text"])
    assert many_digits.agreement(number["text"], many_digits.text(labels, "spaced")) > 0.5
    assert [step["name"] for step in number["steps"]] == ["image", "background", "ink", "digit"]
    with Image.open(io.BytesIO(file)) as image:
        for digit in number["digits"]:
            box = digit["box"]
            assert 0 <= box["x"] < box["x"] + box["width"] <= image.width
            assert np.shape(digit["input"]) == (28, 28)
    assert several[0]["text"] == number["text"]
    (single,) = several[1]["digits"]
    assert single["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-5)
    refused = server.client.post("/predict?digits=some", content=file)
    assert (refused.status_code, refused.json()) == (400, {"error": "digits must be one or many"})


def test_digits_that_touch_are_answered_one_by_one(server, data) -> None:
    twos = [image_faults.from_outline(image) for image in data[0][data[1] == 2][:3]]
    file = many_digits.write(twos, "touching", seed=0)

    digits = server.client.post("/predict?digits=many", content=file).raise_for_status().json()["digits"]

    assert len(digits) == 3
    for digit, layer in zip(digits, many_digits.layers(twos, "touching", seed=0), strict=True):
        columns = np.flatnonzero((layer > 0.5).any(axis=0))
        assert digit["box"]["x"] == pytest.approx(columns[0], abs=4)
        assert digit["box"]["width"] == pytest.approx(len(columns), abs=4)


def listed(*contents: bytes) -> bytes:
    return json.dumps({"images": [base64.b64encode(content).decode() for content in contents]}).encode()


STROKE = np.eye(28, dtype=np.uint8) * 255
NO_LISTS = {
    "no JSON": (b"{", 400, "JSON"),
    "no images": (b"{}", 400, "images"),
    "none": (b'{"images": []}', 400, "images"),
    "no list": (b'{"images": "text"}', 400, "images"),
    "no texts": (b'{"images": [1]}', 400, "images"),
    "no base64": (b'{"images": ["????"]}', 400, "base64"),
    "a URL": (b'{"images": ["http://127.0.0.1/digit.png"]}', 400, "base64"),
    "one is a TIFF": (listed(as_png(STROKE), b"II*\0"), 415, "image 1: "),
    "one is broken": (listed(as_png(STROKE), as_png(STROKE)[:-60]), 400, "image 1: "),
    "too many": (listed(*[as_png(STROKE)] * 1025), 400, "1024"),
    "bomb": (listed(as_png(STROKE), bomb()), 413, "image 1: "),
    "text bomb": (listed(as_png(STROKE), text_bomb()), 400, "image 1: "),
    "large together": (listed(as_png(STROKE, 2900), as_png(STROKE, 2900)), 413, "image 1: "),
}


@pytest.mark.parametrize(("content", "status", "says"), NO_LISTS.values(), ids=NO_LISTS)
def test_what_is_no_list_of_pictures_is_explained(attacked, content, status, says) -> None:
    answer = attacked.client.post("/predict", content=content)

    assert answer.status_code == status
    assert says in answer.json()["error"]


@pytest.mark.hostile
def test_metrics_do_not_grow_with_unknown_names(server) -> None:
    server.client.get("/v2/models/unknown")
    server.metrics()  # counts itself from the next time on
    before = len(server.metrics().splitlines())
    host, port = server.url.removeprefix("http://").split(":")
    for start in range(0, 5000, 500):
        heads = [f"GET /v2/models/unknown{start + number} HTTP/1.1\r\nHost: {host}\r\n" for number in range(500)]
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(("\r\n".join(heads) + "Connection: close\r\n\r\n").encode())
            with connection.makefile("rb") as answers:
                assert answers.read().count(b"HTTP/1.1 404 ") == 500
    assert len(server.metrics().splitlines()) == before


def test_only_this_machine_can_reach_the_server_unless_told_otherwise(server) -> None:
    listening = [entry for entry in psutil.Process(server.pid).net_connections("inet") if entry.status == "LISTEN"]
    assert {entry.laddr.ip for entry in listening} == {"127.0.0.1"}


def test_a_new_champion_is_swapped_in_without_a_failed_request(repository, data, first, second) -> None:
    images = data[0][:1]
    body = kit.inference_request(images)
    expected = {"1": first.probabilities(images), "2": second.probabilities(images)}
    with kit.Server(repository) as server, concurrent.futures.ThreadPoolExecutor(4) as pool:
        stop = False

        def ask() -> set[str]:
            seen = set()
            while not stop:
                answer = server.client.post(INFER, json=body)
                assert answer.status_code == 200
                version = answer.json()["model_version"]
                given = np.array(answer.json()["outputs"][0]["data"])
                assert np.allclose(given, expected[version], atol=1e-4)
                seen.add(version)
            return seen

        asking = [pool.submit(ask) for _ in range(4)]
        kit.publish(repository, 2, second, data[0])
        kit.set_champion(repository, 2)
        kit.wait_until(lambda: server.client.post(INFER, json=body).json()["model_version"] == "2")
        stop = True
        assert set().union(*(future.result() for future in asking)) <= {"1", "2"}
        old = server.client.post(f"/v2/models/{kit.NAME}/versions/1/infer", json=body).json()
        assert np.allclose(np.array(old["outputs"][0]["data"]), expected["1"], atol=1e-4)


FAULTS = ("corrupt", "wrong hash", "external data", "hard link", "constant", "other predictions", "NaN", "missing")


@pytest.mark.slow
@pytest.mark.hostile
def test_bad_candidates_never_serve(repository, tmp_path, data, first, second, monkeypatch) -> None:
    images = data[0][:4]
    (tmp_path / "elsewhere.bin").write_bytes(kit.with_external_data(second.onnx(), "weights.bin")[1])
    (repository / "weights.bin").hardlink_to(tmp_path / "elsewhere.bin")
    monkeypatch.chdir(repository)  # where onnxruntime would look
    with kit.Server(repository) as server:
        for version, fault in enumerate(FAULTS, 2):
            write_bad(repository, version, fault, second, images)
            kit.set_champion(repository, version)
            kit.wait_until(partial(is_logged, server, f"version {version}"))
            answer = server.client.post(INFER, json=kit.inference_request(images)).json()
            assert answer["model_version"] == "1", fault
            assert np.allclose(
                np.array(answer["outputs"][0]["data"]).reshape(4, 10), first.probabilities(images), atol=1e-4
            )


def is_logged(server: kit.Server, text: str) -> bool:
    return any(text in line for line in server.log)


def write_bad(repository: Path, version: int, fault: str, model: kit.Classifier, images: np.ndarray) -> None:
    """Write a version of a model that has a fault."""
    right = model.probabilities(images)
    match fault:
        case "corrupt":
            kit.write_version(repository, version, b"no model", images, right)
        case "wrong hash":
            kit.write_version(repository, version, model.onnx(), images, right, sha256="0" * 64)
        case "external data":
            graph, _ = kit.with_external_data(model.onnx(), "../../../../etc/passwd")
            kit.write_version(repository, version, graph, images, right)
        case "hard link" | "constant":
            graph, _ = kit.with_external_data(model.onnx(), "weights.bin", as_constant=fault == "constant")
            kit.write_version(repository, version, graph, images, right)
        case "other predictions":
            kit.write_version(repository, version, model.onnx(), images, right[::-1].copy())
        case "NaN":
            broken = kit.Classifier([model.weights[0] * np.nan], model.biases)
            kit.write_version(repository, version, broken.onnx(), images, right * np.nan)


def test_sigterm_ends_with_exit_code_0(repository) -> None:
    with kit.Server(repository) as server:
        assert server.client.get("/v2/health/ready").is_success
        assert server.stop(signal.SIGTERM) == 0


def test_nothing_to_serve_and_a_taken_port_are_one_line_each(tmp_path, repository) -> None:
    command = [sys.executable, "-m", "serving", "--repository"]
    free = ("--port", str(free_port()))
    nothing = subprocess.run([*command, str(tmp_path / "none"), *free], capture_output=True, text=True, check=False)
    assert nothing.returncode == 1
    assert nothing.stderr.count("\n") == 1
    assert "mnistflow retrain" in nothing.stderr
    with kit.Server(repository) as server:
        port = server.url.rpartition(":")[2]
        taken = subprocess.run([*command, str(repository), "--port", port], capture_output=True, text=True, check=False)
    assert taken.returncode == 1
    assert "--port" in taken.stderr


def test_pictures_from_the_command_line(repository, data, tmp_path) -> None:
    path = tmp_path / "digit.png"
    Image.fromarray(data[0][0]).resize((90, 90)).save(path)
    command = [sys.executable, "-m", "serving.predict", "--repository", str(repository), "--model", kit.NAME]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{path}: {data[1][0]} ")
    (tmp_path / "bars.png").write_bytes(two_bars())
    several = subprocess.run([*command, str(tmp_path / "bars.png")], capture_output=True, text=True, check=True)
    assert "uncertain: the image shows several digits" in several.stdout
    (tmp_path / "notes.png").write_text("no picture")
    for wrong in ("notes.png", "missing.png"):
        failed = subprocess.run([*command, str(tmp_path / wrong)], capture_output=True, text=True, check=False)
        assert failed.returncode == 1
        assert failed.stderr.count("\n") == 1


@pytest.mark.long
@pytest.mark.slow
def test_the_server_runs_where_the_training_stack_is_not_installed(tmp_path, repository, data, first) -> None:
    root = Path(__file__).parents[3]
    python = tmp_path / "venv/bin/python"
    uv = [sys.executable, "-m", "uv"]
    steps = (
        [*uv, "venv", "-q", "--python", sys.executable, str(tmp_path / "venv")],
        [*uv, "pip", "install", "-q", "--python", str(python), "--require-hashes", "-r", "serving/requirements.lock"],
        [*uv, "pip", "install", "-q", "--python", str(python), "--no-deps", "."],
    )
    for step in steps:
        subprocess.run(step, cwd=root, check=True, capture_output=True)
    probe = "import importlib.util as u; print([m for m in %r if u.find_spec(m)])"
    heavy = ["tensorflow", "keras", "mlflow", "prefect", "dvc", "sklearn", "onnx"]
    found = subprocess.run([str(python), "-c", probe % heavy], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    serve = (str(tmp_path / "venv/bin/mnistflow-serve"), "--port", "0", "--repository", str(repository))
    bare = subprocess.run([*serve, "--grpc-port", str(free_port())], capture_output=True, text=True, check=False)
    assert bare.returncode == 1
    assert "extra grpc" in bare.stderr.splitlines()[-1]
    pipeline = subprocess.run([str(tmp_path / "venv/bin/mnistflow")], capture_output=True, text=True, check=False)
    assert pipeline.returncode == 1
    assert pipeline.stderr == "error: typer is not installed. Install the pipeline: pip install '.[pipeline]'.\n"
    has_headers = Path(sysconfig.get_path("include"), "Python.h").is_file()
    has_compiler = bool(shutil.which(sysconfig.get_config_var("LDSHARED").split()[0]))
    compiled = list((tmp_path / "venv").rglob("serving/protocol/_pixels.*so"))
    assert len(compiled) == int(has_compiler and has_headers)
    with kit.Server(repository, command=(str(tmp_path / "venv/bin/mnistflow-serve"),)) as server:
        assert still_right(server, data, first)
        assert bool(compiled) != any("the compiled extension" in line for line in server.log)
    # As if there had been no compiler.
    for library in compiled:
        library.unlink()
    with kit.Server(repository, command=(str(tmp_path / "venv/bin/mnistflow-serve"),)) as server:
        kit.wait_until(lambda: any("the compiled extension" in line for line in server.log))
        # What was learnt from the first request is used for the second.
        assert all(still_right(server, data, first) for _ in range(2))
