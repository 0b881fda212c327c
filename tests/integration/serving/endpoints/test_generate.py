"""A generator of images behind a running server: over the protocol, as PNG, and beside a classifier."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import serving_kit as kit
import toy_generator
from PIL import Image
from toy_generator import CLASSES, INPUTS, LATENT, NAME, OUTPUT, draw


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory, data: tuple[np.ndarray, np.ndarray], first: kit.Classifier
) -> tuple[Path, onnxruntime.InferenceSession]:
    """A repository with a classifier and a generator, and the generator."""
    repository = tmp_path_factory.mktemp("generated") / "models"
    kit.publish(repository, 1, first, data[0])
    kit.set_champion(repository, 1)
    return repository, toy_generator.publish(repository)


@pytest.fixture(scope="module")
def session(both: tuple[Path, onnxruntime.InferenceSession]) -> onnxruntime.InferenceSession:
    return both[1]


@pytest.fixture(scope="module")
def server(both: tuple[Path, onnxruntime.InferenceSession]) -> Iterator[kit.Server]:
    with kit.Server(both[0]) as running:
        yield running


def asked(latent: np.ndarray, labels: list[int]) -> dict[str, Any]:
    return {
        "inputs": [
            {"name": "latent", "datatype": "FP32", "shape": list(latent.shape), "data": latent.ravel().tolist()},
            {"name": "class", "datatype": "INT64", "shape": [len(labels)], "data": labels},
        ]
    }


def pixels(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def test_the_protocol_takes_latent_vectors_and_classes(server, session):
    latent = np.random.default_rng(2).normal(size=(3, LATENT)).astype(np.float32)
    described = server.client.get(f"/v2/models/{NAME}").json()
    assert (described["inputs"], described["outputs"]) == (INPUTS, [OUTPUT])
    response = server.client.post(f"/v2/models/{NAME}/infer", json=asked(latent, [2, 0, 1]))
    (output,) = response.json()["outputs"]
    assert (output["datatype"], output["shape"]) == ("UINT8", [3, 28, 28])
    expected = draw(session, latent, [2, 0, 1])
    assert np.abs(np.reshape(output["data"], output["shape"]) - expected.astype(int)).max() <= 1


def test_a_class_without_dimensions_is_configured_as_triton_knows_it(server):
    (_, labels) = server.client.get(f"/v2/models/{NAME}/config").json()["input"]
    assert labels == {"name": "class", "data_type": "TYPE_INT64", "dims": [1], "reshape": {"shape": []}}


@pytest.mark.parametrize("label", [-1, 3, 2**40])
def test_a_class_that_there_is_not_is_refused(server, label):
    response = server.client.post(f"/v2/models/{NAME}/infer", json=asked(np.zeros((1, LATENT), np.float32), [label]))
    assert (response.status_code, response.json()) == (400, {"error": "class must be 0 to 2"})


def test_rows_have_to_agree(server):
    response = server.client.post(f"/v2/models/{NAME}/infer", json=asked(np.zeros((2, LATENT), np.float32), [0]))
    assert response.status_code == 400
    assert "number of rows" in response.json()["error"]


def test_an_image_is_a_png_file_and_the_same_for_the_same_seed(server, session):
    query = {"class": "T-shirt/top", "seed": "7"}
    response = server.client.get("/generate/image", params=query)
    assert (response.status_code, response.headers["content-type"]) == (200, "image/png")
    assert response.headers["x-seed"] == "7"
    latent = np.random.default_rng(7).standard_normal((1, LATENT), np.float32)
    assert np.abs(pixels(response.content) - draw(session, latent, [1])[0].astype(int)).max() <= 1
    assert server.client.get("/generate/image", params=query).content == response.content
    assert server.client.get("/generate/image", params=query | {"seed": "8"}).content != response.content


def test_without_a_seed_each_image_is_another_one_and_can_be_asked_for_again(server):
    one, other = (server.client.get("/generate/image?class=2&count=3") for _ in range(2))
    assert one.content != other.content
    again = server.client.get(f"/generate/image?class=2&count=3&model={NAME}&seed={one.headers['x-seed']}")
    assert again.content == one.content
    assert pixels(one.content).shape == (28, 3 * 28)


def test_many_images_are_rows_of_ten(server):
    grid = pixels(server.client.get("/generate/image?class=zero&seed=1&count=12").content)
    assert grid.shape == (2 * 28, 10 * 28)
    assert not grid[28:, 2 * 28 :].any()


@pytest.mark.parametrize(
    ("query", "status", "problem"),
    [
        ("", 400, "class must be one of: zero, T-shirt/top, 2"),
        ("class=3", 400, "class must be one of"),
        ("class=2&seed=-1", 400, "seed must be a whole number from 0 to 4294967295"),
        ("class=2&seed=4294967296", 400, "seed must be"),
        ("class=2&seed=1.5", 400, "seed must be"),
        ("class=2&seed=%D9%A3", 400, "seed must be"),
        ("class=2&count=0", 400, "count must be a whole number from 1 to 100"),
        ("class=2&count=101", 400, "count must be"),
        (f"class=2&model={kit.NAME}", 404, f"{kit.NAME} does not generate images, use /v2 for it"),
        ("class=2&model=nobody", 404, "no such model is served here"),
    ],
)
def test_what_cannot_be_generated_is_refused_in_one_line(server, query, status, problem):
    response = server.client.get(f"/generate/image?{query}")
    assert response.status_code == status
    assert problem in response.json()["error"]


def test_the_classifier_beside_it_answers_and_names_the_generator(server, data):
    described = server.client.get("/predict").json()
    assert (described["models"], described["generators"]) == ([kit.NAME], [NAME])
    assert server.client.post(f"/v2/models/{kit.NAME}/infer", json=kit.inference_request(data[0][:1])).is_success
    assert server.client.get("/generate").json()["classes"] == list(CLASSES)
    refused = server.client.get(f"/predict/{NAME}")
    assert refused.status_code == 404
    assert refused.json()["error"] == f"{NAME} does not classify images of 28x28, use /v2 for it"


def test_a_server_of_a_generator_alone(both, tmp_path):
    shutil.copytree(both[0] / NAME, tmp_path / NAME)
    with kit.Server(tmp_path) as alone:
        assert alone.client.get("/v2/health/ready").json() == {"ready": True}
        refused = alone.client.post("/invocations", json={"inputs": [[0.0] * LATENT]})
        assert (refused.status_code, refused.json()["error"]) == (
            400,
            f"{NAME} has several inputs: use /v2/models/{NAME}/infer",
        )
        page = alone.client.get("/generated")
        assert page.status_code == 200
        assert "Generated images" in page.text


def test_without_a_generator_nothing_is_generated(repository):
    with kit.Server(repository) as running:
        assert running.client.get("/predict").json()["generators"] == []
        for path in ("/generate", "/generate/image?class=2"):
            response = running.client.get(path)
            assert (response.status_code, response.json()) == (404, {"error": "no model here generates images"})
