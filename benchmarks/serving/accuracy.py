"""Accuracy over every protocol: does the server give the whole test split the accuracy of the evaluation?

One image a request, MNIST's 10,000 test images, the champion of a model repository. Through /v2 the accuracy has to be
exactly the evaluated one; pictures go through /predict, whose preprocessing may cost 0.3 points.

    MNISTFLOW_MIRRORS=../shared/datasets python benchmarks/serving/accuracy.py --repository var/models
"""

import argparse
import io
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
from PIL import Image

from serving.protocol import inference_pb2 as pb

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/support"))
import serving_kit as kit
from cluster import free_port

NAME = "mnist-classifier"
INFER = f"/v2/models/{NAME}/infer"
CONNECTIONS = 8
MAY_COST = 0.003


@dataclass(frozen=True)
class Clients:
    """Where to ask."""

    http: httpx.Client
    grpc: Callable[[pb.ModelInferRequest], pb.ModelInferResponse]


Ask = Callable[[Clients, np.ndarray], int]


def by_json(clients: Clients, image: np.ndarray) -> int:
    answer = clients.http.post(INFER, json=kit.inference_request(image[np.newaxis])).raise_for_status()
    return int(np.argmax(answer.json()["outputs"][0]["data"]))


def by_bytes(clients: Clients, image: np.ndarray) -> int:
    headers = {"Inference-Header-Content-Length": "0"}
    answer = clients.http.post(INFER, content=image.tobytes(), headers=headers).raise_for_status()
    return int(np.argmax(np.frombuffer(answer.content[-40:], "<f4")))


def by_grpc(clients: Clients, image: np.ndarray) -> int:
    tensor = pb.ModelInferRequest.InferInputTensor(name="images", datatype="UINT8", shape=[1, *image.shape])
    asked = pb.ModelInferRequest(model_name=NAME, inputs=[tensor], raw_input_contents=[image.tobytes()])
    return int(np.argmax(np.frombuffer(clients.grpc(asked).raw_output_contents[0], "<f4")))


def by_png(clients: Clients, image: np.ndarray) -> int:
    return _label(clients.http, Image.fromarray(image))


def by_paper(clients: Clients, image: np.ndarray) -> int:
    """Black on white, ten times the size, in a corner of a larger sheet."""
    digit = Image.fromarray(255 - image).resize((280, 280), Image.Resampling.BICUBIC)
    sheet = Image.new("L", (400, 500), "white")
    sheet.paste(digit, (100, 20))
    return _label(clients.http, sheet)


def _label(client: httpx.Client, picture: Image.Image) -> int:
    content = io.BytesIO()
    picture.save(content, "PNG")
    label: int = client.post("/predict", content=content.getvalue()).raise_for_status().json()["label"]
    return label


# How it is asked, and how far the accuracy may then be from the evaluated one; None: no promise.
WAYS: dict[str, tuple[Ask, float | None]] = {
    "/v2, JSON": (by_json, 0.0),
    "/v2, bytes": (by_bytes, 0.0),
    "gRPC": (by_grpc, 0.0),
    "/predict, PNG": (by_png, MAY_COST),
    "/predict, PNG of a sheet of paper": (by_paper, None),
}


def main() -> int:
    """Print the accuracies; exit status 1 when one is less than promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, default=Path("var/models"))
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    arguments = parser.parse_args()
    test = kit.mnist("t10k", arguments.images)
    if test is None:
        sys.exit("MNISTFLOW_MIRRORS names no folder with MNIST. Name one.")
    images, labels = test
    failed = False
    port = free_port()
    with (
        kit.Server(arguments.repository, "--model", NAME, "--grpc-port", str(port)) as server,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        clients = Clients(server.client, _inference(channel))
        evaluated = _evaluated(server)
        print(f"evaluated: {evaluated:.2%}; {len(images):,} images a row")
        for name in arguments.ways:
            ask, may_cost = WAYS[name]
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                given = list(pool.map(lambda image, ask=ask: ask(clients, image), images))
            accuracy = float(np.mean(given == labels))
            print(f"{name:<34} {accuracy:.2%}", flush=True)
            failed = failed or (may_cost is not None and round(abs(evaluated - accuracy), 6) > may_cost)
    return int(failed)


def _inference(channel: grpc.Channel) -> Callable[[pb.ModelInferRequest], pb.ModelInferResponse]:
    return channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelInferResponse.FromString,
    )


def _evaluated(server: kit.Server) -> float:
    metrics: dict[str, Any] = server.client.get("/predict").raise_for_status().json()["metrics"]
    return float(metrics["accuracy"])


if __name__ == "__main__":
    sys.exit(main())
