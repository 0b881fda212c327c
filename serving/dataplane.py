"""Answers questions about models and runs them. Knows no transport: HTTP, and whatever comes later, are doors to it."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from serving.catalogue import Catalogue
from serving.metrics import Metrics
from serving.model import Model
from serving.tensors import Array

# A hop to a thread costs about 0.1 ms. What is predicted to take less than this is computed on the event loop.
INLINE_SECONDS = 0.001

Result = TypeVar("Result")


class DataPlane:
    """What every door may ask for.

    Args:
        catalogue: the models in memory.
        metrics: told of every inference.
    """

    def __init__(self, catalogue: Catalogue, metrics: Metrics) -> None:
        self.catalogue = catalogue
        self._metrics = metrics
        self._threads = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="dataplane")

    async def model(self, name: str, version: int | None = None) -> Model:
        """Return a model: the version asked for, else the champion.

        Raises:
            UnknownModelError: no such model or version.
            NotReadyError: it is not fit to serve.
        """
        if version is None:
            return self.catalogue.champion(name)
        return await self.catalogue.version(name, version)

    async def infer(self, model: Model, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run a model on inputs that fit its signature.

        Raises:
            InferenceFailedError: the model failed on them.
        """
        rows = max(len(array) for array in inputs.values())
        if rows * model.seconds_per_row < INLINE_SECONDS:
            result = model.run(inputs, outputs)
        else:
            result = await self.in_thread(lambda: model.run(inputs, outputs))
        self._metrics.inference(model.manifest, rows)
        return result

    async def in_thread(self, work: Callable[[], Result]) -> Result:
        """Do what would hold up the event loop; as many at once as there are cores."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def is_ready(self) -> bool:
        """Say whether every model serves and gives, now, what was recorded."""
        return self.catalogue.is_complete() and all(model.is_ready() for model in self.catalogue.champions)
