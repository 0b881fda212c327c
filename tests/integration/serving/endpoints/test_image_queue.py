"""Image files of /predict: their queue has limits, and requests without image files do not wait for them."""

import base64
import io
import json
import re
import socket
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import numpy as np
import pytest
import serving_kit as kit
from PIL import Image
from waiting import WAIT_SECONDS

pytestmark = pytest.mark.slow

INFER = f"/v2/models/{kit.NAME}/infer"
SIDE, COUNT = 6000, 12  # these images take seconds to convert, but are small files
LARGE = ("--threads", "1", "--max-pixels", str(SIDE * SIDE * COUNT))


@pytest.fixture(scope="module")
def large_images(data):
    """Return a body with images of one digit each."""
    picture = Image.new("L", (SIDE, SIDE), 255)
    picture.paste(Image.fromarray(255 - data[0][0]).resize((SIDE // 2, SIDE // 2)), (SIDE // 4, SIDE // 4))
    content = io.BytesIO()
    picture.save(content, "PNG")
    return json.dumps({"images": [base64.b64encode(content.getvalue()).decode()] * COUNT}).encode()


@pytest.fixture
def small_image(data):
    content = io.BytesIO()
    Image.fromarray(data[0][0]).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def heavy_repository(tmp_path, data, heavy):
    """A model whose batches run in threads."""
    kit.publish(tmp_path, 1, heavy, data[0])
    kit.set_champion(tmp_path, 1)
    return tmp_path


@contextmanager
def sent(server, body, path="/predict"):
    """Send a request; yields the connection, on which its response arrives."""
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), WAIT_SECONDS) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        yield connection


@contextmanager
def busy(server, large_images, path="/predict"):
    """Send the images twice: the only thread converts the first, for seconds, and the others wait meanwhile."""
    with sent(server, large_images, path), sent(server, large_images, path):
        kit.wait_until(lambda: waiting_images(server) == COUNT)
        yield


def waiting_images(server):
    (count,) = re.findall(r"^mnistflow_waiting_images (\S+)$", server.metrics(), re.M)
    return float(count)


def status(connection):
    return int(connection.makefile("rb").readline().split()[1])


def responses(server):
    """Return the numbers of responses of /predict by status."""
    found = re.findall(
        r'^mnistflow_requests_total\{endpoint="/predict",status="(\d+)"\} (\S+)$', server.metrics(), re.M
    )
    return {int(code): float(count) for code, count in found}


@pytest.mark.parametrize("path", ["/predict", "/predict?digits=many", f"/predict/{kit.NAME}?input=1"])
def test_batches_do_not_wait_for_images(heavy_repository, data, heavy, large_images, path):
    images = np.resize(data[0], (256, 28, 28))
    headers = {"inference-header-content-length": "0", "content-type": "application/octet-stream"}
    with kit.Server(heavy_repository, *LARGE) as server, busy(server, large_images, path):
        answer = server.client.post(INFER, content=images.tobytes(), headers=headers)
        assert answer.status_code == 200
        assert waiting_images(server) == COUNT  # the images that waited before still wait


def test_a_full_queue_of_images_refuses_further_ones(repository, data, small_image, large_images):
    with kit.Server(repository, *LARGE, "--queue-rows", str(COUNT)) as server, busy(server, large_images):
        answer = server.client.post("/predict", content=small_image)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json().keys() == {"error"}
        assert server.client.post("/predict", content=data[0][0].tobytes()).status_code == 200  # needs no conversion


def test_images_that_wait_too_long_get_504(repository, large_images):
    with kit.Server(repository, *LARGE, "--queue-seconds", "0.05") as server:
        with sent(server, large_images) as one, sent(server, large_images) as other:
            assert {status(one), status(other)} == {200, 504}
        assert waiting_images(server) == 0


@pytest.mark.hostile
def test_images_of_clients_that_have_gone_are_not_converted(repository, large_images, small_image):
    with kit.Server(repository, *LARGE) as server:
        with busy(server, large_images), ExitStack() as clients:
            for _ in range(5):
                clients.enter_context(sent(server, b"not an image, which a conversion would find out"))
            kit.wait_until(lambda: waiting_images(server) == COUNT + 5)
        # All of them have gone.
        assert server.client.post("/predict", content=small_image).status_code == 200
        kit.wait_until(lambda: sum(responses(server).values()) == 8)
        assert responses(server) == {200: 1, 499: 7}
