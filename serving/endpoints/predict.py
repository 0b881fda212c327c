"""`POST /predict`: classifies one image or several; `GET /predict`: the model and its classes.

`/predict` runs the default model, `/predict/<model>` the one that it names. `?digits=many` reads a number of several
digits on each image, and `?input=1` explains how images were read.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from serving.engine.data_plane import DataPlane
from serving.engine.model import Model
from serving.errors import InvalidRequestError, NoInkError
from serving.http.body_parser import BodyParser
from serving.http.request import Request
from serving.http.response import Response, json_response
from serving.http.router import Route
from serving.images.converter import ImageConverter
from serving.images.explanation import NOT_EXPLAINED, explain, explain_number
from serving.images.ink import Grey
from serving.images.numbers.number import Digit, choose_digits, limited, read_number, text
from serving.images.payload import convert_each, parse_images
from serving.images.preprocessing import ImagePayload, read
from serving.inference_log.log import InferenceLog
from serving.protocol.tensors import Array
from serving.settings import Settings

Result = TypeVar("Result")

PATHS = ("/predict", "/predict/(?P<model>[^/]+)")
SEVERAL = {"uncertain": True, "reason": "the image shows several digits: send it with ?digits=many"}


@dataclass(frozen=True, slots=True)
class Conversion:
    """An image on which something is written, as the model takes it.

    Attributes:
        pixels: input of the model, uint8 `[height, width]`.
        shows_several: whether the image shows several digits.
        explanation: fields of the response about how the image was read; empty if the client did not ask for them.
    """

    pixels: Grey
    shows_several: bool
    explanation: dict[str, Any]


class PredictEndpoints:
    """Endpoints /predict, which runs the default model, and /predict/<model>."""

    def __init__(
        self,
        plane: DataPlane,
        converter: ImageConverter,
        settings: Settings,
        inference_log: InferenceLog,
        body_parser: BodyParser,
    ) -> None:
        self._plane = plane
        self._converter = converter
        self._log = inference_log
        self._settings = settings
        self._body_parser = body_parser

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
                "preprocessing": manifest.preprocessing,
                "takes_feedback": self._log.is_enabled,
                "models": [model.name for model in models.image_classifiers],
                "generators": [model.name for model in models.image_generators],
            }
        )

    async def predict(self, request: Request, name: str | None = None) -> Response:
        body = await request.body(self._settings.max_body_bytes, self._settings.receive_seconds)
        start = time.perf_counter()
        model = self._plane.models.image_classifier(name)
        parse = partial(parse_images, body, request.media_type, self._settings.max_rows)
        images, is_list = await self._body_parser.run(parse, len(body), request.is_disconnected)
        predict = self._predict_numbers if _reads_numbers(request) else self._predict_images
        model, predictions = await predict(images, model, request)
        model_and_timing = {
            "model": model.name,
            "version": model.version,
            "id": request.id,
            "milliseconds": round((time.perf_counter() - start) * 1000, 3),
        }
        return json_response(({"predictions": predictions} if is_list else predictions[0]) | model_and_timing)

    async def _predict_images(
        self, images: list[ImagePayload], model: Model, request: Request
    ) -> tuple[Model, list[dict[str, Any]]]:
        """Return the version that answered, and the prediction for each image."""
        mode, max_pixels, is_explained = model.manifest.preprocessing, self._settings.max_pixels, _is_explained(request)

        def convert(image: ImagePayload) -> Conversion | None:
            try:
                reading = read(image, mode=mode, max_pixels=max_pixels)
            except NoInkError:
                return None
            explanation = explain(reading, len(images)) if is_explained else {}
            return Conversion(reading.input, reading.shows_several, explanation)

        conversions = await self._convert(convert_each(images, convert, max_pixels), images, request)
        found = {number: each for number, each in enumerate(conversions) if each}
        if not found:
            return model, [_empty(model) for _ in images]
        pixels = np.stack([each.pixels for each in found.values()])
        model, probabilities = await self._infer(pixels, model, request)
        self._add_to_log(pixels, probabilities, model, request, list(found))
        predictions = [_empty(model) for _ in images]
        for (number, each), row in zip(found.items(), probabilities, strict=True):
            predictions[number] = _prediction(row, model, each.shows_several) | each.explanation
        return model, predictions

    async def _predict_numbers(
        self, images: list[ImagePayload], model: Model, request: Request
    ) -> tuple[Model, list[dict[str, Any]]]:
        """Return the version that answered, and the number on each image with its digits."""
        if model.manifest.preprocessing != "digit":
            raise InvalidRequestError(f"{model.name} classifies whole images, so it reads no numbers")
        max_pixels, max_rows, is_explained = self._settings.max_pixels, self._settings.max_rows, _is_explained(request)

        readings = convert_each(images, partial(read_number, max_pixels=max_pixels), max_pixels)
        conversions = (
            (each.candidates, explain_number(each, len(images)) if is_explained else NOT_EXPLAINED)
            for each in limited(readings, max_rows)
        )
        candidates, explanations = zip(*await self._convert(conversions, images, request), strict=True)
        pixels = np.concatenate([each.inputs for each in candidates])
        model, probabilities = await self._infer(pixels, model, request)
        numbers = list(choose_digits(candidates, probabilities))
        rows = [digit.row for number in numbers for digit in number]
        self._add_to_log(pixels[rows], probabilities[rows], model, request)

        def entry(digit: Digit) -> dict[str, Any]:
            prediction = _prediction(probabilities[digit.row], model) | {"box": digit.box._asdict()}
            return prediction | {"input": pixels[digit.row]} if is_explained else prediction

        entries = [[entry(digit) for digit in number] for number in numbers]
        return model, [
            {"text": text(number, [each["class_name"] for each in digits]), "digits": digits}
            | explanation.fields(len(digits))
            for number, digits, explanation in zip(numbers, entries, explanations, strict=True)
        ]

    async def _convert(
        self, conversions: Iterator[Result], images: list[ImagePayload], request: Request
    ) -> list[Result]:
        """Convert images: by the converter, unless there are pixels only."""
        files = sum(isinstance(image, bytes) for image in images)
        if not files:
            return list(conversions)
        return await self._converter.convert(conversions, files, request.is_disconnected)

    async def _infer(self, pixels: Array, model: Model, request: Request) -> tuple[Model, Array]:
        """Return the version that answered, and the probabilities for each input."""
        (spec,), output = model.inputs.values(), model.manifest.outputs[0].name
        model, arrays = await self._plane.infer(
            model, {spec.name: pixels}, [output], request.is_disconnected, request.id
        )
        return model, arrays[output]

    def _add_to_log(
        self,
        pixels: Array,
        probabilities: Array,
        model: Model,
        request: Request,
        numbers: Sequence[int] | None = None,
    ) -> None:
        self._log.add(request.id, model, {"images": pixels}, {"probabilities": probabilities}, numbers)


def _is_explained(request: Request) -> bool:
    return _choice(request, "input", ("0", "1")) == "1"


def _reads_numbers(request: Request) -> bool:
    return _choice(request, "digits", ("one", "many")) == "many"


def _choice(request: Request, name: str, choices: tuple[str, ...]) -> str | None:
    chosen = request.query_parameter(name)
    if chosen not in (None, *choices):
        raise InvalidRequestError(f"{name} must be {' or '.join(choices)}")
    return chosen


def _empty(model: Model) -> dict[str, Any]:
    """Return the prediction for an image on which nothing is written: any class, and none."""
    return {
        "label": None,
        "class_name": None,
        "probabilities": None,
        "prediction_set": model.manifest.classes,
        "uncertain": True,
        "reason": "no ink found in the image",
    }


def _prediction(probabilities: Array, model: Model, is_one_of_several: bool = False) -> dict[str, Any]:
    label, manifest = int(np.argmax(probabilities)), model.manifest
    answer = {"label": label, "class_name": manifest.classes[label], "probabilities": probabilities}
    doubt = manifest.doubt.describe(probabilities, manifest.classes) if manifest.doubt else {}
    return answer | doubt | (SEVERAL if is_one_of_several else {})
