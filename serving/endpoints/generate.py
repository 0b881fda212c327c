"""`GET /generate/image`: new images of a class; `GET /generate`: the generator and its classes.

`?model=` names another generator than the oldest one. The same version, class and seed give the same images.
"""

import io
import secrets

import numpy as np
from PIL import Image

from serving.engine.data_plane import DataPlane
from serving.engine.model import Model
from serving.errors import InvalidRequestError
from serving.http.request import Request
from serving.http.response import Response, json_response
from serving.http.router import Route
from serving.protocol.tensors import Array

MAX_SEED = 2**32 - 1
MAX_COUNT = 100
COLUMNS = 10


class GenerateEndpoints:
    """Endpoints /generate and /generate/image."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def routes(self) -> list[Route]:
        return [Route("GET", "/generate", self.describe), Route("GET", "/generate/image", self.draw)]

    async def describe(self, request: Request) -> Response:
        """Respond with the model, its classes, and all generators of images."""
        models = self._plane.models
        manifest = models.image_generator(request.query_parameter("model")).manifest
        return json_response(
            {
                "model": manifest.name,
                "version": manifest.version,
                "dataset": manifest.dataset,
                "classes": manifest.classes,
                "metrics": manifest.metrics,
                "created": manifest.created,
                "models": [model.name for model in models.image_generators],
            }
        )

    async def draw(self, request: Request) -> Response:
        """Respond with a PNG file: an image, or rows of ten."""
        model = self._plane.models.image_generator(request.query_parameter("model"))
        label = _label(request, model)
        seed = request.integer_parameter("seed", 0, MAX_SEED)
        count = request.integer_parameter("count", 1, MAX_COUNT)
        chosen = secrets.randbelow(MAX_SEED + 1) if seed is None else seed
        images = await self._generate(model, label, chosen, count or 1, request)
        headers = {"cache-control": "no-cache", "x-seed": str(chosen)}
        return Response(_png(_grid(images)), media_type="image/png", headers=headers)

    async def _generate(self, model: Model, label: int, seed: int, count: int, request: Request) -> Array:
        """Return images, uint8 `[count, height, width]`."""
        (latent, classes), (output,) = model.manifest.inputs, model.manifest.outputs
        inputs: dict[str, Array] = {
            latent.name: np.random.default_rng(seed).standard_normal((count, latent.shape[1]), np.float32),
            classes.name: np.full(count, label, np.int64),
        }
        _, arrays = await self._plane.infer(model, inputs, [output.name], request.is_disconnected, request.id)
        return arrays[output.name]


def _label(request: Request, model: Model) -> int:
    name, classes = request.query_parameter("class"), model.manifest.classes
    if name not in classes:
        raise InvalidRequestError(f"class must be one of: {', '.join(classes)}")
    return classes.index(name)


def _grid(images: Array) -> Array:
    """Return rows of at most ten images as one: uint8 `[rows * height, columns * width]`."""
    count, height, width = images.shape
    columns = min(count, COLUMNS)
    rows = -(-count // columns)
    filled = np.zeros((rows * columns, height, width), np.uint8)
    filled[:count] = images
    return filled.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)


def _png(pixels: Array) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()
