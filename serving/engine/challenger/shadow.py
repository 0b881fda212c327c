"""Shadow requests: answered requests that another version computes as well, for comparison, in a thread of its own.

Requests that wait run together. A client's request pays for no more than an entry in a queue.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from serving.engine.batcher import Outputs
from serving.engine.challenger.rollout import Rollout, is_finite
from serving.engine.model import Model
from serving.errors import InferenceFailedError
from serving.protocol.tensors import Array

# Rows that may wait; more are dropped, so that a slow challenger cannot fill the memory.
WAITING_ROWS = 512
BATCH_ROWS = 64


@dataclass(frozen=True, slots=True, eq=False)
class _ShadowRequest:
    rollout: Rollout
    model: Model
    inputs: Mapping[str, Array]
    answer: Outputs
    rows: int

    def fits(self, other: "_ShadowRequest") -> bool:
        return (
            self.rollout is other.rollout
            and self.model is other.model
            and self.answer.keys() == other.answer.keys()
            and all(array.shape[1:] == other.inputs[name].shape[1:] for name, array in self.inputs.items())
        )


@dataclass(frozen=True, slots=True)
class _BatchResult:
    """The result of a batch: the seconds it ran, and the rows on which both versions agree; None when it failed."""

    requests: Sequence[_ShadowRequest]
    seconds: float
    agreed: int | None


class ShadowQueue:
    """The queue of shadow requests. Used on the event loop only.

    Args:
        executor: with one thread.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._waiting: deque[_ShadowRequest] = deque()
        self._rows = 0
        self._is_running = False

    def add(self, rollout: Rollout, model: Model, inputs: Mapping[str, Array], answer: Outputs) -> None:
        """Let `model` compute what the other version answered, and compare; dropped when too many wait."""
        rows = len(next(iter(inputs.values())))
        if self._waiting and self._rows + rows > WAITING_ROWS:
            rollout.record_dropped()
            return
        self._waiting.append(_ShadowRequest(rollout, model, inputs, answer, rows))
        self._rows += rows
        if not self._is_running:
            self._run()

    def _run(self) -> None:
        self._is_running = True
        running = asyncio.get_running_loop().run_in_executor(self._executor, _run_batch, self._next_batch())
        running.add_done_callback(self._finish)

    def _finish(self, done: asyncio.Future[Sequence[_BatchResult]]) -> None:
        self._is_running = False
        for result in done.result():
            for request in result.requests:
                request.rollout.record(request.model, result.seconds, failed=result.agreed is None)
            if result.agreed is not None:
                rows = sum(request.rows for request in result.requests)
                result.requests[0].rollout.record_agreement(rows, result.agreed)
        if self._waiting:
            self._run()

    def _next_batch(self) -> Sequence[_ShadowRequest]:
        batch = [self._waiting.popleft()]
        rows = batch[0].rows
        while self._waiting and rows + self._waiting[0].rows <= BATCH_ROWS and batch[0].fits(self._waiting[0]):
            batch.append(self._waiting.popleft())
            rows += batch[-1].rows
        self._rows -= rows
        return batch


def _run_batch(batch: Sequence[_ShadowRequest]) -> Sequence[_BatchResult]:
    """Run a batch; when it fails as a whole, each request runs alone."""
    first = batch[0]
    inputs = {name: np.concatenate([request.inputs[name] for request in batch]) for name in first.inputs}
    answer = {name: np.concatenate([request.answer[name] for request in batch]) for name in first.answer}
    start = time.perf_counter()
    try:
        outputs = first.model.run(inputs, list(answer))
    except InferenceFailedError:
        if len(batch) == 1:
            return [_BatchResult(batch, time.perf_counter() - start, None)]
        return [result for request in batch for result in _run_batch([request])]
    seconds = time.perf_counter() - start
    return [_BatchResult(batch, seconds, _agreed_rows(answer, outputs) if is_finite(outputs) else None)]


def _agreed_rows(one: Outputs, other: Outputs) -> int:
    """Return the number of rows for which both name the same class, by their first output."""
    first, second = (next(iter(outputs.values())) for outputs in (one, other))
    same = np.argmax(first.reshape(len(first), -1), 1) == np.argmax(second.reshape(len(second), -1), 1)
    return int(same.sum())
