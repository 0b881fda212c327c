"""Canary requests: a challenger answers a share of the requests; the champion answers when it fails or is slow."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from serving.engine.batcher import OnDone, Outputs
from serving.engine.challenger.rollout import FAILURES, Rollout
from serving.engine.challenger.shadow import ShadowQueue
from serving.engine.model import Model
from serving.errors import OverloadedError, ServingError
from serving.protocol.tensors import Array

# Queues a request for a version: inputs, outputs, on_done, is_cancelled. Raises OverloadedError.
Submit = Callable[[Model, Mapping[str, Array], Collection[str], OnDone, Callable[[], bool]], None]


@dataclass(frozen=True, slots=True, eq=False)
class RolloutRequest:
    """A request to a model that has a challenger; the attributes are the arguments of `DataPlane.submit`."""

    rollout: Rollout
    inputs: Mapping[str, Array]
    outputs: Collection[str]
    on_done: OnDone
    is_cancelled: Callable[[], bool]


class RolloutRouter:
    """Routes requests to the champion or the challenger of a rollout. Used on the event loop only.

    Args:
        submit: queues a request for a champion.
        submit_isolated: queues a request for a challenger, where it delays no other request.
        shadow: receives what the other version should compute for comparison.
    """

    def __init__(self, submit: Submit, submit_isolated: Submit, shadow: ShadowQueue) -> None:
        self.submit_isolated = submit_isolated
        self._submit = submit
        self._shadow = shadow

    def route(self, request: RolloutRequest, request_id: str) -> None:
        """Queue a request; its `on_done` is called once, later.

        An error of the challenger, or an answer that takes it too long, is recorded and never reaches the client.
        """
        if request.rollout.is_canary(request_id):
            _CanaryRequest(self, request).start()
        else:
            self.run_champion(request, is_shadowed=request.rollout.spec.shadow)

    def run_champion(self, request: RolloutRequest, *, is_shadowed: bool) -> None:
        """Let the champion answer."""
        rollout = request.rollout
        start = time.perf_counter()

        def finish(champion: Model, result: Outputs | ServingError) -> None:
            rollout.record_result(champion, result, time.perf_counter() - start)
            if is_shadowed and not isinstance(result, ServingError):
                self.compare(request, rollout.challenger, result)
            request.on_done(champion, result)

        try:
            self._submit(rollout.champion, request.inputs, request.outputs, finish, request.is_cancelled)
        except OverloadedError as error:
            # Not at once: the caller of `route` expects the callback later.
            asyncio.get_running_loop().call_soon(request.on_done, rollout.champion, error)

    def compare(self, request: RolloutRequest, model: Model, answer: Outputs) -> None:
        """Let `model` compute the request as well, and compare its outputs with the answer."""
        self._shadow.add(request.rollout, model, request.inputs, answer)


class _CanaryRequest:
    """A request on its way to the challenger, with a time limit."""

    __slots__ = ("_is_settled", "_request", "_router", "_start", "_timer")

    def __init__(self, router: RolloutRouter, request: RolloutRequest) -> None:
        self._router = router
        self._request = request
        self._is_settled = False
        self._start = time.perf_counter()
        self._timer: asyncio.TimerHandle

    def start(self) -> None:
        request, rollout = self._request, self._request.rollout
        self._timer = asyncio.get_running_loop().call_later(rollout.max_seconds, self._fall_back)
        try:
            self._router.submit_isolated(
                rollout.challenger, request.inputs, request.outputs, self._finish, self._is_cancelled
            )
        except OverloadedError:  # counts like a timeout: the challenger does not keep up with its share
            self._timer.cancel()
            self._fall_back()

    def _is_cancelled(self) -> bool:
        return self._is_settled or self._request.is_cancelled()

    def _finish(self, challenger: Model, result: Outputs | ServingError) -> None:
        if self._is_settled:
            return
        self._is_settled = True
        self._timer.cancel()
        request, rollout = self._request, self._request.rollout
        result = rollout.record_result(challenger, result, time.perf_counter() - self._start)
        if isinstance(result, FAILURES):
            self._router.run_champion(request, is_shadowed=False)
            return
        if not isinstance(result, ServingError):
            self._router.compare(request, rollout.champion, result)
        request.on_done(challenger, result)

    def _fall_back(self) -> None:
        if self._is_settled:
            return
        self._is_settled = True
        rollout = self._request.rollout
        rollout.record(rollout.challenger, rollout.max_seconds, failed=True)
        self._router.run_champion(self._request, is_shadowed=False)
