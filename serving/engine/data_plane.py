"""Answers questions about models and runs them. Knows no transport: HTTP, and whatever comes later, are doors to it."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from serving.engine.batcher import Batcher, Limits, Outputs, Settle
from serving.engine.model import READINESS_ROWS, Model
from serving.engine.model_manager import Catalogue
from serving.engine.rollout import Rollout
from serving.engine.shadow import Copies
from serving.errors import DeadlineError, InferenceFailedError, OverloadedError
from serving.metrics.prometheus import Metrics
from serving.protocol.tensors import Array

# How long an answer of whether a model is ready holds: probes need no key, and each would compute.
READINESS_SECONDS = 0.5

Result = TypeVar("Result")


def _never() -> bool:
    return False


def _labels(model: Model) -> tuple[str, str]:
    return model.name, str(model.version)


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
        # A challenger, and copies, have a thread of their own: nothing that is slow there holds up other answers.
        self._limits_aside = dataclasses.replace(limits, threads=1, inline_seconds=0.0)
        self._thread_aside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="challenger")
        self._batchers_aside: dict[Model, Batcher] = {}
        self._copies = Copies(self._thread_aside)
        # Only of versions that have work, so that one which leaves the memory leaves nothing here.
        self._batchers: dict[Model, Batcher] = {}
        self._checks: dict[Model, asyncio.Future[bool]] = {}
        metrics.waiting = self._waiting

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
        outputs: Collection[str],
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
        return await self._batcher(model).submit(inputs, outputs, is_gone)

    def start(
        self,
        model: Model,
        inputs: Mapping[str, Array],
        outputs: Collection[str],
        is_gone: Callable[[], bool],
        settle: Settle,
    ) -> None:
        """Like `infer`, without a task: `settle` is called once, later, with the outputs or with what `infer` raises.

        Raises:
            OverloadedError: too much waits for this version.
        """
        self._batcher(model).enqueue(inputs, outputs, is_gone, settle)

    def sole_champion(self, name: str) -> Model | None:
        """Return the champion, unless a challenger is tried beside it.

        Raises:
            UnknownModelError: no such model.
            NotReadyError: it is not fit to serve.
        """
        return None if name in self.catalogue.rollouts else self.catalogue.champion(name)

    async def answer(
        self,
        model: Model,
        request_id: str,
        inputs: Mapping[str, Array],
        outputs: Collection[str],
        is_gone: Callable[[], bool] = _never,
    ) -> tuple[Model, Outputs]:
        """Like `infer`, for requests that name no version: when a challenger is tried, it may answer instead.

        Returns:
            The version that answered, and the outputs.

        Raises:
            As `infer`; a challenger that fails or is slow causes none of them, because the champion answers then.
        """
        if self.catalogue.rollouts:
            rollout = self.catalogue.rollouts.get(model.name)
            if rollout is not None and rollout.champion is model:
                return await self._answer_in(rollout, request_id, inputs, outputs, is_gone)
        return model, await self.infer(model, inputs, outputs, is_gone)

    async def in_thread(self, work: Callable[[], Result]) -> Result:
        """Do what would hold up the event loop; as many at once as there are threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def is_ready(self) -> bool:
        """Say whether a model serves, and each that does gives what was recorded."""
        champions = self.catalogue.champions
        return bool(champions) and all(await asyncio.gather(*map(self.is_model_ready, champions)))

    async def is_model_ready(self, model: Model) -> bool:
        """Say whether an inference gives what was recorded: one made now, or by a call shortly before."""
        check = self._checks.get(model)
        if check is None:
            check = self._checks[model] = asyncio.ensure_future(self._check(model))
        # Others may wait for the same.
        return await asyncio.shield(check)

    async def _check(self, model: Model) -> bool:
        try:
            if model.predicted_seconds(READINESS_ROWS) < self._limits.inline_seconds:
                return model.is_ready()
            return await asyncio.to_thread(model.is_ready)
        finally:
            asyncio.get_running_loop().call_later(READINESS_SECONDS, self._checks.pop, model)

    def _waiting(self) -> Mapping[tuple[str, str], int]:
        waiting = Counter({_labels(model): 0 for model in self.catalogue.champions})
        for model, batcher in (*self._batchers.items(), *self._batchers_aside.items()):
            waiting[_labels(model)] += batcher.waiting
        return waiting

    async def _answer_in(
        self,
        rollout: Rollout,
        request_id: str,
        inputs: Mapping[str, Array],
        outputs: Collection[str],
        is_gone: Callable[[], bool],
    ) -> tuple[Model, Outputs]:
        is_canary = rollout.is_canary(request_id)
        if is_canary:
            try:
                async with asyncio.timeout(rollout.seconds):
                    canary = self._aside(rollout.challenger).submit(inputs, outputs, is_gone)
                    answer = await rollout.noted(rollout.challenger, canary)
                self._copies.add(rollout, rollout.champion, inputs, answer)
                return rollout.challenger, answer
            except (OverloadedError, TimeoutError):
                rollout.note(rollout.challenger, rollout.seconds, failed=True)
            except (InferenceFailedError, DeadlineError):
                pass  # noted already
        answer = await rollout.noted(rollout.champion, self.infer(rollout.champion, inputs, outputs, is_gone))
        if rollout.plan.shadow and not is_canary:
            self._copies.add(rollout, rollout.challenger, inputs, answer)
        return rollout.champion, answer

    def _batcher(self, model: Model) -> Batcher:
        known = self._batchers.get(model)
        return known or self._new_batcher(model, self._batchers, self._limits, self._threads)

    def _aside(self, model: Model) -> Batcher:
        """Return the queue of a model for what must not hold up the event loop or the threads of other answers."""
        known = self._batchers_aside.get(model)
        return known or self._new_batcher(model, self._batchers_aside, self._limits_aside, self._thread_aside)

    def _new_batcher(
        self, model: Model, batchers: dict[Model, Batcher], limits: Limits, threads: ThreadPoolExecutor
    ) -> Batcher:
        def forget() -> None:
            batchers.pop(model, None)

        on_batch = partial(self._metrics.batch, model.manifest)
        batchers[model] = Batcher(model, limits, threads, on_batch=on_batch, on_idle=forget)
        return batchers[model]
