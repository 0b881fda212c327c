"""Answers questions about models and runs them. Knows no transport: HTTP, and whatever comes later, are doors to it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from serving.batcher import Batcher, Limits
from serving.catalogue import Catalogue
from serving.metrics import Metrics
from serving.model import Model
from serving.tensors import Array

Result = TypeVar("Result")


def _never() -> bool:
    return False


class DataPlane:
    """What every door may ask for. Used on the event loop only.

    Args:
        catalogue: the models in memory.
        metrics: told of every batch.
        limits: of the queue of each version.
    """

    def __init__(self, catalogue: Catalogue, metrics: Metrics, limits: Limits) -> None:
        self.catalogue = catalogue
        self._metrics = metrics
        self._limits = limits
        self._threads = ThreadPoolExecutor(max_workers=limits.threads, thread_name_prefix="dataplane")
        # Only of versions that have work, so that one which leaves the memory leaves nothing here.
        self._batchers: dict[Model, Batcher] = {}

    async def model(self, name: str, version: int | None = None) -> Model:
        """Return a model: the version asked for, else the champion.

        Raises:
            UnknownModelError: no such model or version.
            NotReadyError: it is not fit to serve.
        """
        if version is None:
            return self.catalogue.champion(name)
        return await self.catalogue.version(name, version)

    async def infer(
        self,
        model: Model,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        is_gone: Callable[[], bool] = _never,
    ) -> dict[str, Array]:
        """Run a model on inputs that fit its signature, together with whatever else waits for it.

        Args:
            model: the version to run.
            inputs: arrays by name, with the same number of rows.
            outputs: names of the outputs to return.
            is_gone: says whether nobody waits for the answer any more.

        Raises:
            InferenceFailedError: the model failed on them.
            OverloadedError: too much waits for this version.
            DeadlineError: they waited too long.
            ClientGoneError: `is_gone` said so.
        """
        batcher = self._batchers.get(model) or self._new_batcher(model)
        return await batcher.submit(inputs, outputs, is_gone)

    async def in_thread(self, work: Callable[[], Result]) -> Result:
        """Do what would hold up the event loop; as many at once as there are threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def is_ready(self) -> bool:
        """Say whether every model serves and gives, now, what was recorded."""
        return self.catalogue.is_complete() and all(model.is_ready() for model in self.catalogue.champions)

    def _new_batcher(self, model: Model) -> Batcher:
        batcher = Batcher(
            model,
            self._limits,
            self._threads,
            on_batch=partial(self._metrics.batch, model.manifest),
            on_idle=lambda: self._forget(model),
        )
        self._batchers[model] = batcher
        return batcher

    def _forget(self, model: Model) -> None:
        self._batchers.pop(model, None)
