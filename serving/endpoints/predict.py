"""`POST /predict`: classifies one image or several; `GET /predict`: the model and its classes.

`/predict` runs the default model, `/predict/<model>` the one that it names.
"""

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.engine.data_plane import DataPlane
from serving.engine.model import Model
from serving.http.request import Request
from serving.http.response import Response, json_response
from serving.http.router import Route
from serving.images.payload import ImagePayload, parse_images, to_model_inputs
from serving.inference_log.log import InferenceLog
from serving.protocol.tensors import Array
from serving.settings import Settings

PATHS = ("/predict", r"/predict/([^/]+)")


class PredictEndpoints:
    """Endpoints /predict, which runs the default model, and /predict/<model>."""

    def __init__(self, plane: DataPlane, settings: Settings, inference_log: InferenceLog) -> None:
        self._plane = plane
        self._log = inference_log
        self._settings = settings

    def routes(self) -> list[Route]:
        handlers = (("GET", self.describe), ("POST", self.predict))
        return [Route(method, path, handler) for path in PATHS for method, handler in handlers]

    async def describe(self, _: Request, name: str | None = None) -> Response:
        """Respond with the model, its classes in the order of `probabilities`, and all image classifiers."""
        models = self._plane.models
        manifest = models.image_classifier(name).manifest
        return json_response(
            {
                "model": manifest.name,
                "version": manifest.version,
                "dataset": manifest.dataset,
                "classes": manifest.classes,
                "metrics": manifest.metrics,
                "created": manifest.created,
                "takes_feedback": self._log.is_enabled,
                "models": [model.name for model in models.image_classifiers],
            }
        )

    async def predict(self, request: Request, name: str | None = None) -> Response:
        body = await request.body(self._settings.max_body_bytes, self._settings.receive_seconds)
        start = time.perf_counter()
        model = self._plane.models.image_classifier(name)
        images, is_list = parse_images(body, request.media_type, self._settings.max_rows)
        pixels = await self._preprocess(images, model)
        (spec,), output = model.inputs.values(), model.manifest.outputs[0].name
        inputs = {spec.name: pixels}
        model, arrays = await self._plane.infer(model, inputs, [output], request.is_disconnected, request.id)
        self._log.add(request.id, model, inputs, arrays)
        predictions = [_prediction(probabilities, model) for probabilities in arrays[output]]
        model_and_timing = {
            "model": model.name,
            "version": model.version,
            "id": request.id,
            "milliseconds": round((time.perf_counter() - start) * 1000, 3),
        }
        if request.query_parameter("input") == "1":
            predictions = [entry | {"input": image} for entry, image in zip(predictions, pixels, strict=True)]
        return json_response(({"predictions": predictions} if is_list else predictions[0]) | model_and_timing)

    async def _preprocess(self, images: list[ImagePayload], model: Model) -> npt.NDArray[np.uint8]:
        mode = model.manifest.preprocessing
        max_pixels = self._settings.max_pixels

        def convert() -> npt.NDArray[np.uint8]:
            return to_model_inputs(images, mode=mode, max_pixels=max_pixels)

        has_files = any(isinstance(image, bytes) for image in images)
        return await self._plane.in_thread(convert) if has_files else convert()


def _prediction(probabilities: Array, model: Model) -> dict[str, Any]:
    label = int(np.argmax(probabilities))
    return {"label": label, "class_name": model.manifest.classes[label], "probabilities": probabilities}
