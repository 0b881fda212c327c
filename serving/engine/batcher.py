"""Batcher: dynamic (adaptive) batching without a timer. A batch is whatever arrived by the time the model is free.

Requests for the same version run together. While nothing runs, a batch starts in the next turn of the event loop; while
a batch runs, requests collect. An idle server adds no delay, and a busy one makes larger batches.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from serving.engine.model import Model
from serving.errors import ClientGoneError, DeadlineError, InferenceFailedError, OverloadedError, ServingError
from serving.metrics.model_metrics import BatchStats
from serving.protocol.tensors import Array

log = logging.getLogger(__name__)

# A hop to a thread costs about 0.1 ms. Batches predicted to take less than this run on the event loop.
INLINE_SECONDS = 0.001

Outputs = dict[str, Array]
BatchResults = Sequence[Outputs | InferenceFailedError]
# When the batch started, which may have waited for a free thread, and its results.
TimedResults = tuple[float, BatchResults]
# Receives the version that ran, and its outputs or the error that prevented them.
OnDone = Callable[[Model, Outputs | ServingError], None]


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Limits of a batcher.

    Attributes:
        batch_rows: rows that run together; a larger request runs alone.
        queue_rows: rows that may wait; an empty queue accepts a request of any size.
        queue_seconds: how long a request may wait.
        threads: batches that may run outside the event loop at once.
        inline_seconds: batches predicted to take less run on the event loop.
    """

    batch_rows: int
    queue_rows: int
    queue_seconds: float
    threads: int
    inline_seconds: float = INLINE_SECONDS


@dataclass(slots=True, eq=False)
class _QueuedRequest:
    inputs: Mapping[str, Array]
    outputs: Collection[str]
    rows: int
    deadline: float
    on_done: OnDone
    is_cancelled: Callable[[], bool]


class Batcher:
    """The queue of one version of a model. Used on the event loop only.

    Args:
        model: runs the batches.
        limits: of batches and of the queue.
        executor: runs batches that would block the event loop for too long.
        on_batch: called after each batch.
        on_idle: called when nothing waits or runs any more.
    """

    def __init__(
        self,
        model: Model,
        limits: BatchLimits,
        executor: Executor,
        on_batch: Callable[[BatchStats], None],
        on_idle: Callable[[], None],
    ) -> None:
        self._model = model
        self._limits = limits
        self._executor = executor
        self._on_batch = on_batch
        self._on_idle = on_idle
        # With fixed sizes, all inputs fit into one batch, and nothing has to be compared.
        self._sizes_vary = any(-1 in spec.shape[1:] for spec in model.inputs.values())
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_QueuedRequest] = deque()
        self._rows = 0
        self._running = 0
        self._is_scheduled = False

    def submit(
        self,
        inputs: Mapping[str, Array],
        outputs: Collection[str],
        on_done: OnDone,
        is_cancelled: Callable[[], bool],
    ) -> None:
        """Queue a request.

        Args:
            inputs: arrays by name, with the same number of rows.
            outputs: names of the outputs to compute.
            on_done: called once, later, with the model and its outputs, or an error: InferenceFailedError (it failed
                on these inputs), DeadlineError (they waited too long), ClientGoneError (the request was cancelled).
            is_cancelled: called before the request runs; True drops it.

        Raises:
            OverloadedError: the queue is full.
        """
        rows = len(next(iter(inputs.values())))
        if self._queue and self._rows + rows > self._limits.queue_rows:
            raise OverloadedError("too many requests are waiting for this model, try again later")
        deadline = time.perf_counter() + self._limits.queue_seconds
        self._queue.append(_QueuedRequest(inputs, outputs, rows, deadline, on_done, is_cancelled))
        self._rows += rows
        self._schedule()

    @property
    def waiting(self) -> int:
        """Number of requests that wait."""
        return len(self._queue)

    def _schedule(self) -> None:
        if not self._is_scheduled and self._running < self._limits.threads:
            self._is_scheduled = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._is_scheduled = False
        batch, rows = self._next_batch()
        if batch:
            if self._model.predicted_seconds(rows) < self._limits.inline_seconds:
                self._deliver(batch, rows, _run_timed(self._model, batch))
            else:
                self._running += 1
                running = self._loop.run_in_executor(self._executor, _run_timed, self._model, batch)
                running.add_done_callback(lambda done: self._finish(batch, rows, done))
        self._continue()

    def _finish(self, batch: Sequence[_QueuedRequest], rows: int, done: asyncio.Future[TimedResults]) -> None:
        self._running -= 1
        self._deliver(batch, rows, done.result())
        self._continue()

    def _deliver(self, batch: Sequence[_QueuedRequest], rows: int, timed: TimedResults) -> None:
        start, results = timed
        seconds = time.perf_counter() - start
        # A request arrived at `deadline - queue_seconds`; summed over the batch: how long they waited.
        waited = (start + self._limits.queue_seconds) * len(batch)
        failed = 0
        for request, result in zip(batch, results, strict=True):
            waited -= request.deadline
            failed += isinstance(result, InferenceFailedError)
            self._call_on_done(request, result)
        self._on_batch(BatchStats(len(batch), rows, failed, waited, seconds))

    def _call_on_done(self, request: _QueuedRequest, result: Outputs | ServingError) -> None:
        try:
            request.on_done(self._model, result)
        except Exception:
            # The other requests of the batch get their results all the same.
            log.exception("a result could not be delivered")

    def _continue(self) -> None:
        if self._queue:
            self._schedule()
        elif not self._running:
            self._on_idle()

    def _fit_together(self, one: _QueuedRequest, other: _QueuedRequest) -> bool:
        return not self._sizes_vary or all(
            array.shape[1:] == other.inputs[name].shape[1:] for name, array in one.inputs.items()
        )

    def _next_batch(self) -> tuple[list[_QueuedRequest], int]:
        """Take the next batch from the queue; return it with its number of rows."""
        batch: list[_QueuedRequest] = []
        rows = 0
        now = time.perf_counter()
        while self._queue:
            request = self._queue[0]
            if batch and (rows + request.rows > self._limits.batch_rows or not self._fit_together(batch[0], request)):
                break
            self._queue.popleft()
            self._rows -= request.rows
            if request.is_cancelled():
                self._call_on_done(request, ClientGoneError("the client went away"))
            elif now > request.deadline:
                self._call_on_done(request, DeadlineError("the request waited too long in the queue"))
            else:
                batch.append(request)
                rows += request.rows
        return batch, rows


def _run_timed(model: Model, batch: Sequence[_QueuedRequest]) -> TimedResults:
    return time.perf_counter(), _run_batch(model, batch)


def _run_batch(model: Model, batch: Sequence[_QueuedRequest]) -> BatchResults:
    """Return the result of each request; when the batch fails as a whole, each request runs alone."""
    try:
        return _run_together(model, batch)
    except InferenceFailedError as error:
        if len(batch) == 1:
            return [error]
    except Exception as error:
        if len(batch) == 1:
            # A request without a result would wait forever.
            failure = InferenceFailedError("the batch failed")
            failure.__cause__ = error
            return [failure]
    return [_run_batch(model, [request])[0] for request in batch]


def _run_together(model: Model, batch: Sequence[_QueuedRequest]) -> Sequence[Outputs]:
    if len(batch) == 1:
        return [model.run(batch[0].inputs, batch[0].outputs)]
    inputs = {name: np.concatenate([request.inputs[name] for request in batch]) for name in batch[0].inputs}
    names = list(dict.fromkeys(name for request in batch for name in request.outputs))
    arrays = model.run(inputs, names)
    results = []
    start = 0
    for request in batch:
        stop = start + request.rows
        outputs = {}
        for name in request.outputs:
            outputs[name] = arrays[name][start:stop]
        results.append(outputs)
        start = stop
    return results
