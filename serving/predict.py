"""The door for pictures: an image goes in, its class comes out."""

import base64
import time

import numpy as np

from serving.dataplane import DataPlane
from serving.errors import InvalidRequestError
from serving.inference_log import InferenceLog
from serving.model import Model
from serving.preprocessing import KINDS, SIDE, Grey, Manner, to_model_input
from serving.settings import Settings
from serving.web import Answer, Request, Route, json_answer

DATA_URL = b"data:image/"
RAW_MEDIA = ("", "application/octet-stream")


class PredictDoor:
    """Endpoint /predict, answered by the default model."""

    def __init__(self, plane: DataPlane, settings: Settings, inference_log: InferenceLog) -> None:
        self._plane = plane
        self._log = inference_log
        self._settings = settings

    def routes(self) -> list[Route]:
        return [Route("GET", "/predict", self.describe), Route("POST", "/predict", self.predict)]

    async def describe(self, _: Request) -> Answer:
        """Say which model answers, and its classes in the order of `probabilities`."""
        manifest = self._plane.catalogue.picture_classifier().manifest
        return json_answer(
            {
                "model": manifest.name,
                "version": manifest.version,
                "dataset": manifest.dataset,
                "classes": manifest.classes,
                "metrics": manifest.metrics,
                "created": manifest.created,
                "takes_feedback": self._log.is_kept,
            }
        )

    async def predict(self, request: Request) -> Answer:
        body = await request.body(self._settings.max_body_bytes, self._settings.receive_seconds)
        start = time.perf_counter()
        model = self._plane.catalogue.picture_classifier()
        image = await self._image(body, request.media(), model)
        (spec,), output = model.inputs.values(), model.manifest.outputs[0].name
        arrays = await self._plane.infer(model, {spec.name: image[np.newaxis]}, [output], request.is_gone)
        probabilities = arrays[output][0]
        label = int(np.argmax(probabilities))
        self._log.add(request.id, model, image[np.newaxis], arrays[output])
        answer = {
            "label": label,
            "class_name": model.manifest.classes[label],
            "probabilities": probabilities,
            "model": model.name,
            "version": model.version,
            "id": request.id,
            "milliseconds": round((time.perf_counter() - start) * 1000, 3),
        }
        if request.parameter("input") == "1":
            answer["input"] = image
        return json_answer(answer)

    async def _image(self, body: bytes, media: str, model: Model) -> Grey:
        if not body:
            raise InvalidRequestError(f"the body is empty, send a {KINDS}, or 784 raw bytes")
        if len(body) == SIDE * SIDE and media in RAW_MEDIA:
            return np.frombuffer(body, np.uint8).reshape(SIDE, SIDE)
        if body.startswith(DATA_URL):
            body = _unpacked(body)
        manner: Manner = "digit" if model.manifest.preprocessing == "digit" else "plain"
        max_pixels = self._settings.max_pixels
        return await self._plane.in_thread(lambda: to_model_input(body, manner=manner, max_pixels=max_pixels))


def _unpacked(url: bytes) -> bytes:
    """Return what a base64 data URL (RFC 2397) of an image holds."""
    kind, comma, content = url.partition(b",")
    try:
        if not comma or not kind.endswith(b";base64"):
            raise ValueError
        return base64.b64decode(content, validate=True)
    except ValueError:
        raise InvalidRequestError("this data URL holds no base64") from None
