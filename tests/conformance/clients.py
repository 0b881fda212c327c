"""Clients of the protocol as their makers ship them; runs in an environment of its own, see `test_clients.py`.

`python clients.py URL GRPC_ADDRESS MODEL FILE NAME ...`: FILE holds `images`, and `probabilities` by version.
"""

import asyncio
import sys
from typing import Any

import numpy as np

URL, GRPC, MODEL, FILE, *NAMES = sys.argv[1:]
ADMIN = {"authorization": "Bearer admin"}
CONTENT = np.load(FILE)
IMAGES = CONTENT["images"]


def assert_right(given, version):
    expected = CONTENT[f"probabilities{version}"]
    assert given.dtype == np.float32
    assert np.allclose(given, expected, atol=1e-5), np.abs(given - expected).max()


def tensors(package, binary=None):
    tensor = package.InferInput("images", IMAGES.shape, "UINT8")
    if binary is None:
        tensor.set_data_from_numpy(IMAGES)
        return [tensor], [package.InferRequestedOutput("probabilities")]
    tensor.set_data_from_numpy(IMAGES, binary_data=binary)
    return [tensor], [package.InferRequestedOutput("probabilities", binary_data=binary)]


def assert_raises(error, call, *words):
    try:
        call()
    except error as caught:
        assert all(word in str(caught) for word in words), str(caught)
    else:
        raise AssertionError("no error was raised")


def triton_http():
    import tritonclient.http as package
    from tritonclient.utils import InferenceServerException

    client = package.InferenceServerClient(URL.removeprefix("http://"), concurrency=4)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready("nothing")
    assert client.get_server_metadata()["name"] == "mnistflow"
    assert client.get_model_metadata(MODEL)["versions"] == ["1", "2"]
    assert client.get_model_config(MODEL)["input"][0]["dims"] == [28, 28]
    assert {entry["version"] for entry in client.get_model_repository_index()} == {"1", "2"}

    for binary in (True, False):
        for packing in (None, "gzip", "deflate"):
            inputs, outputs = tensors(package, binary)
            options = {"request_compression_algorithm": packing, "response_compression_algorithm": packing}
            answer = client.infer(MODEL, inputs, outputs=outputs, request_id="a-7", **options)
            assert_right(answer.as_numpy("probabilities"), 2)
            assert answer.get_response()["id"] == "a-7"
    assert_right(client.infer(MODEL, tensors(package)[0]).as_numpy("probabilities"), 2)
    assert_right(client.infer(MODEL, tensors(package)[0], model_version="1").as_numpy("probabilities"), 1)
    waiting = [client.async_infer(MODEL, tensors(package)[0]) for _ in range(20)]
    for answer in waiting:
        assert_right(answer.get_result().as_numpy("probabilities"), 2)
    raw = package.InferenceServerClient.generate_request_body(*tensors(package))
    assert len(raw[0]) > raw[1]

    counted = client.get_inference_statistics(MODEL, "2")["model_stats"][0]
    assert counted["inference_count"] >= 20 * len(IMAGES)
    assert client.get_inference_statistics()["model_stats"]
    assert_raises(
        InferenceServerException, lambda: client.infer("nothing", tensors(package)[0]), "404", "no such model"
    )
    assert_raises(InferenceServerException, lambda: client.unload_model(MODEL), "401")
    client.unload_model(MODEL, headers=ADMIN)
    assert not client.is_model_ready(MODEL)
    client.load_model(MODEL, headers=ADMIN)
    assert client.is_model_ready(MODEL)
    client.close()


def triton_http_asyncio():
    import tritonclient.http.aio as package
    from tritonclient.utils import InferenceServerException

    async def talk():
        async with package.InferenceServerClient(URL.removeprefix("http://")) as client:
            assert await client.is_server_ready()
            assert (await client.get_model_metadata(MODEL))["name"] == MODEL
            answers = await asyncio.gather(*(client.infer(MODEL, tensors(package)[0]) for _ in range(20)))
            for answer in answers:
                assert_right(answer.as_numpy("probabilities"), 2)
            assert_right((await client.infer(MODEL, tensors(package, False)[0])).as_numpy("probabilities"), 2)
            try:
                await client.infer(MODEL, tensors(package)[0], model_version="9")
            except InferenceServerException as error:
                assert "no such version" in str(error)
            else:
                raise AssertionError("no error was raised")

    asyncio.run(talk())


def triton_grpc():
    import queue

    import tritonclient.grpc as package
    from tritonclient.utils import InferenceServerException

    client = package.InferenceServerClient(GRPC)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL, "1")
    assert client.get_server_metadata(as_json=True)["name"] == "mnistflow"
    assert client.get_model_metadata(MODEL, as_json=True)["versions"] == ["1", "2"]
    assert client.get_model_config(MODEL, as_json=True)["config"]["input"][0]["data_type"] == "TYPE_UINT8"
    assert len(client.get_model_repository_index().models) == 2

    inputs, outputs = tensors(package)
    answer = client.infer(MODEL, inputs, outputs=outputs, request_id="a-7")
    assert answer.get_response().id == "a-7"
    assert_right(answer.as_numpy("probabilities"), 2)
    assert_right(client.infer(MODEL, inputs, model_version="1").as_numpy("probabilities"), 1)
    assert_right(client.infer(MODEL, inputs, compression_algorithm="gzip").as_numpy("probabilities"), 2)
    answers: queue.Queue[Any] = queue.Queue()
    for _ in range(20):
        client.async_infer(MODEL, inputs, callback=lambda result, error: answers.put((result, error)))
    for _ in range(20):
        result, error = answers.get(timeout=900)
        assert error is None
        assert_right(result.as_numpy("probabilities"), 2)

    (counted,) = client.get_inference_statistics(MODEL, "2").model_stats
    assert counted.inference_stats.success.count >= 20
    assert_raises(InferenceServerException, lambda: client.infer("nothing", inputs), "NOT_FOUND", "no such model")
    assert_raises(InferenceServerException, lambda: client.unload_model(MODEL), "UNAUTHENTICATED")
    client.unload_model(MODEL, headers=ADMIN)
    assert not client.is_model_ready(MODEL)
    client.load_model(MODEL, headers=ADMIN)
    assert client.is_model_ready(MODEL)
    client.close()


def triton_grpc_asyncio():
    import tritonclient.grpc.aio as package

    async def talk():
        async with package.InferenceServerClient(GRPC) as client:
            assert await client.is_server_ready()
            answers = await asyncio.gather(*(client.infer(MODEL, tensors(package)[0]) for _ in range(20)))
            for answer in answers:
                assert_right(answer.as_numpy("probabilities"), 2)

    asyncio.run(talk())


def kserve_http():
    import httpx
    from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

    async def talk():
        client = InferenceRESTClient(RESTConfig(protocol="v2", retries=1))
        assert await client.is_server_live(URL)
        assert await client.is_server_ready(URL)
        assert await client.is_model_ready(URL, MODEL)
        for binary in (False, True):
            tensor = InferInput("images", list(IMAGES.shape), "UINT8")
            tensor.set_data_from_numpy(IMAGES, binary_data=binary)
            request = InferRequest(MODEL, [tensor], request_id="a-7", parameters={"binary_data_output": binary})
            answer = await client.infer(URL, request, model_name=MODEL)
            assert answer.id == "a-7"
            assert_right(answer.outputs[0].as_numpy(), 2)
        try:
            await client.infer(URL, request, model_name="nothing")
        except httpx.HTTPStatusError as error:
            assert error.response.status_code == 404
        else:
            raise AssertionError("no error was raised")
        await client.close()

    asyncio.run(talk())


def kserve_grpc():
    from kserve import InferenceGRPCClient, InferInput, InferRequest

    async def talk():
        client = InferenceGRPCClient(GRPC)
        assert await client.is_server_ready()
        assert await client.is_model_ready(MODEL)
        for binary in (False, True):
            tensor = InferInput("images", list(IMAGES.shape), "UINT8")
            tensor.set_data_from_numpy(IMAGES, binary_data=binary)
            answer = await client.infer(InferRequest(MODEL, [tensor], request_id="a-7"))
            assert answer.id == "a-7"
            assert_right(answer.outputs[0].as_numpy(), 2)
        await client.close()

    asyncio.run(talk())


def open_inference():
    from open_inference.openapi.client import InferenceRequest, OpenInferenceClient

    client = OpenInferenceClient(base_url=URL)
    client.check_server_readiness()
    client.check_model_version_readiness(MODEL, "1")
    assert client.read_server_metadata().name == "mnistflow"
    assert client.read_model_metadata(MODEL).versions == ["1", "2"]
    tensor = {"name": "images", "shape": list(IMAGES.shape), "datatype": "UINT8", "data": IMAGES.ravel().tolist()}
    (output,) = client.model_infer(MODEL, request=InferenceRequest(inputs=[tensor])).outputs
    given = output.data.dict()["__root__"] if hasattr(output.data, "dict") else output.data
    assert_right(np.array(given, np.float32).reshape(output.shape), 2)


if __name__ == "__main__":
    for name in NAMES:
        globals()[name]()
