"""Data plane: runs inference requests and checks readiness, for endpoints of any transport."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from serving.engine.batcher import Batcher, BatchLimits, OnDone, Outputs
from serving.engine.challenger.canary import RolloutRequest, RolloutRouter
from serving.engine.challenger.shadow import ShadowQueue
from serving.engine.model import READINESS_ROWS, Model
from serving.engine.model_manager import ModelManager
from serving.errors import NotReadyError, ServingError
from serving.metrics.prometheus import Metrics
from serving.protocol.tensors import Array

# How long the result of a readiness check is reused: probes need no key, and each would run the model.
READINESS_SECONDS = 0.5


def _never() -> bool:
    """Return False: the request is not cancelled."""
    return False


class DataPlane:
    """Inference on the models of a manager. Used on the event loop only.

    Args:
        models: the models in memory.
        metrics: counts batches, and reads how many requests wait.
        limits: of the queue of each version.
    """

    def __init__(self, models: ModelManager, metrics: Metrics, limits: BatchLimits) -> None:
        self.models = models
        self._limits = limits
        threads = ThreadPoolExecutor(max_workers=limits.threads, thread_name_prefix="dataplane")
        self._batchers = _BatcherPool(limits, threads, metrics)
        # Challengers and shadow requests share one thread of their own, so that a slow one delays no other request.
        isolated_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="challenger")
        isolated_limits = dataclasses.replace(limits, threads=1, inline_seconds=0.0)
        self._isolated_batchers = _BatcherPool(isolated_limits, isolated_thread, metrics)
        self._router = RolloutRouter(
            self._batchers.submit, self._isolated_batchers.submit, ShadowQueue(isolated_thread)
        )
        self._checks: dict[Model, asyncio.Future[bool]] = {}
        metrics.waiting = self._waiting

    async def model(self, name: str, version: int | None = None) -> Model:
        """Return a model: the given version, else the champion.

        Raises:
            UnknownModelError: there is no such model or version.
            NotReadyError: it is not fit to serve.
        """
        if version is None:
            return self.models.champion(name)
        return await self.models.version(name, version)

    def submit(
        self,
        model: Model,
        inputs: Mapping[str, Array],
        outputs: Collection[str],
        on_done: OnDone,
        is_cancelled: Callable[[], bool] = _never,
        request_id: str | None = None,
    ) -> None:
        """Queue an inference request, to run in a batch with others for the same version.

        Args:
            model: the version to run.
            inputs: arrays by name that fit the signature of the model, with the same number of rows.
            outputs: names of the outputs to compute.
            on_done: called once, later, with the version that answered and its outputs, or with an
                InferenceFailedError (the model failed on these inputs), DeadlineError (they waited too long),
                ClientGoneError (`is_cancelled` returned True), or OverloadedError (the queue is full).
            is_cancelled: called before the request runs; True drops it.
            request_id: of a request that names no version: during a rollout, the challenger may answer it. None runs
                exactly `model`.

        Raises:
            InvalidRequestError: the model has no such inputs; see `Model.check`.
            OverloadedError: the queue is full.
        """
        model.check(inputs)
        if request_id is not None and self.models.active_rollouts:
            rollout = self.models.active_rollouts.get(model.name)
            if rollout is not None and rollout.champion is model:
                self._router.route(RolloutRequest(rollout, inputs, outputs, on_done, is_cancelled), request_id)
                return
        self._batchers.submit(model, inputs, outputs, on_done, is_cancelled)

    async def infer(
        self,
        model: Model,
        inputs: Mapping[str, Array],
        outputs: Collection[str],
        is_cancelled: Callable[[], bool] = _never,
        request_id: str | None = None,
    ) -> tuple[Model, Outputs]:
        """Coroutine version of `submit`: returns the version that answered and its outputs, or raises the error.

        Cancelling the coroutine drops a request that still waits.
        """
        answer: asyncio.Future[tuple[Model, Outputs]] = asyncio.get_running_loop().create_future()

        def on_done(version: Model, result: Outputs | ServingError) -> None:
            if answer.done():
                return
            if isinstance(result, ServingError):
                answer.set_exception(result)
            else:
                answer.set_result((version, result))

        self.submit(model, inputs, outputs, on_done, lambda: answer.done() or is_cancelled(), request_id)
        return await answer

    async def is_ready(self) -> bool:
        """Return whether there are champions and each of them reproduces its recorded predictions."""
        champions = self.models.champions
        return bool(champions) and all(await asyncio.gather(*map(self.is_model_ready, champions)))

    async def require_ready(self) -> None:
        """Check that the server is ready.

        Raises:
            NotReadyError: there is no champion, or one does not reproduce its recorded predictions.
        """
        if not await self.is_ready():
            raise NotReadyError("there is no champion, or one does not reproduce its recorded predictions")

    async def is_model_ready(self, model: Model) -> bool:
        """Return whether a model reproduces its recorded predictions, now or at most `READINESS_SECONDS` ago."""
        check = self._checks.get(model)
        if check is None:
            check = self._checks[model] = asyncio.ensure_future(self._check(model))
        # Shielded, because other callers may wait for the same check.
        return await asyncio.shield(check)

    async def _check(self, model: Model) -> bool:
        try:
            if model.predicted_seconds(READINESS_ROWS) < self._limits.inline_seconds:
                return model.is_ready()
            return await asyncio.to_thread(model.is_ready)
        finally:
            asyncio.get_running_loop().call_later(READINESS_SECONDS, self._checks.pop, model)

    def _waiting(self) -> Mapping[tuple[str, str], int]:
        waiting = Counter({_labels(model): 0 for model in self.models.champions})
        for model, requests in (*self._batchers.waiting(), *self._isolated_batchers.waiting()):
            waiting[_labels(model)] += requests
        return waiting


class _BatcherPool:
    """The batchers of versions that have work. A version without work keeps nothing here that would hold its memory."""

    def __init__(self, limits: BatchLimits, executor: ThreadPoolExecutor, metrics: Metrics) -> None:
        self._limits = limits
        self._executor = executor
        self._metrics = metrics
        self._batchers: dict[Model, Batcher] = {}

    def submit(
        self,
        model: Model,
        inputs: Mapping[str, Array],
        outputs: Collection[str],
        on_done: OnDone,
        is_cancelled: Callable[[], bool],
    ) -> None:
        """Queue a request for a version; the arguments are those of `Batcher.submit`.

        Raises:
            OverloadedError: the queue is full.
        """
        batcher = self._batchers.get(model) or self._new_batcher(model)
        batcher.submit(inputs, outputs, on_done, is_cancelled)

    def waiting(self) -> list[tuple[Model, int]]:
        """Return the number of waiting requests of each version."""
        return [(model, batcher.waiting) for model, batcher in self._batchers.items()]

    def _new_batcher(self, model: Model) -> Batcher:
        on_batch = partial(self._metrics.batches.record, model.manifest)

        def forget() -> None:
            self._batchers.pop(model, None)

        batcher = Batcher(model, self._limits, self._executor, on_batch=on_batch, on_idle=forget)
        self._batchers[model] = batcher
        return batcher


def _labels(model: Model) -> tuple[str, str]:
    return model.name, str(model.version)
