"""Runs together what waits for a model: a batch is whatever has come by the time the model is free.

There is no timer. While nothing runs, a batch leaves at the next turn of the event loop; while something does, requests
collect. So an idle server adds no delay, and a busy one makes larger batches.
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
from serving.protocol.tensors import Array

log = logging.getLogger(__name__)

# A hop to a thread costs about 0.1 ms. What is predicted to take less than this is computed on the event loop.
INLINE_SECONDS = 0.001

Outputs = dict[str, Array]
Outcomes = Sequence[Outputs | InferenceFailedError]
# Takes what became of a request: its outputs, or why there are none.
Settle = Callable[[Outputs | ServingError], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a batcher holds to.

    Attributes:
        batch_rows: rows run together; a larger request runs alone.
        queue_rows: rows that may wait; a request that finds none waiting is taken whatever its size.
        queue_seconds: how long a request may wait.
        threads: batches that may run outside the event loop at once.
        inline_seconds: batches predicted to take less are run on the event loop.
    """

    batch_rows: int
    queue_rows: int
    queue_seconds: float
    threads: int
    inline_seconds: float = INLINE_SECONDS


@dataclass(slots=True, eq=False)
class _Item:
    inputs: Mapping[str, Array]
    outputs: Collection[str]
    rows: int
    deadline: float
    is_gone: Callable[[], bool]
    settle: Settle


class Batcher:
    """The queue of one version of a model. Used on the event loop only.

    Args:
        model: runs the batches.
        limits: of size, length and time.
        executor: for batches that would hold up the event loop.
        on_batch: told of every batch that was run: requests, rows, how many requests failed, the seconds that all of
            them together waited, and the seconds it ran.
        on_idle: called when nothing waits or runs any more.
    """

    def __init__(
        self,
        model: Model,
        limits: Limits,
        executor: Executor,
        on_batch: Callable[[int, int, int, float, float], None],
        on_idle: Callable[[], None],
    ) -> None:
        self._model = model
        self._limits = limits
        self._executor = executor
        self._on_batch = on_batch
        self._on_idle = on_idle
        # Else all inputs fit together.
        self._sizes_vary = any(-1 in spec.shape[1:] for spec in model.inputs.values())
        self._loop = asyncio.get_running_loop()
        self._items: deque[_Item] = deque()
        self._rows = 0
        self._running = 0
        self._is_scheduled = False

    def submit(
        self, inputs: Mapping[str, Array], outputs: Collection[str], is_gone: Callable[[], bool]
    ) -> asyncio.Future[Outputs]:
        """Return the outputs to come; cancel the future, or let `is_gone` say so, to withdraw what still waits.

        The future raises InferenceFailedError when the model fails on these inputs, DeadlineError when they waited
        too long, ClientGoneError when `is_gone` said so.

        Raises:
            OverloadedError: too much waits already.
        """
        future: asyncio.Future[Outputs] = self._loop.create_future()

        def settle(outcome: Outputs | ServingError) -> None:
            if future.done():
                return
            if isinstance(outcome, ServingError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        self.enqueue(inputs, outputs, lambda: future.done() or is_gone(), settle)
        return future

    def enqueue(
        self, inputs: Mapping[str, Array], outputs: Collection[str], is_gone: Callable[[], bool], settle: Settle
    ) -> None:
        """Like `submit`, with a function that is called once, later, with the outputs or the error.

        Raises:
            OverloadedError: too much waits already.
        """
        rows = len(next(iter(inputs.values())))
        if self._items and self._rows + rows > self._limits.queue_rows:
            raise OverloadedError("too many requests wait for this model, try again later")
        deadline = time.perf_counter() + self._limits.queue_seconds
        self._items.append(_Item(inputs, outputs, rows, deadline, is_gone, settle))
        self._rows += rows
        self._schedule()

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._items)

    def _schedule(self) -> None:
        if not self._is_scheduled and self._running < self._limits.threads:
            self._is_scheduled = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._is_scheduled = False
        batch, rows, now = self._next_batch()
        if batch:
            if self._model.predicted_seconds(rows) < self._limits.inline_seconds:
                self._settle(batch, rows, now, _outcomes(self._model, batch))
            else:
                self._running += 1
                running = self._loop.run_in_executor(self._executor, _outcomes, self._model, batch)
                running.add_done_callback(lambda done: self._finish(batch, rows, now, done))
        self._go_on()

    def _finish(self, batch: Sequence[_Item], rows: int, start: float, done: asyncio.Future[Outcomes]) -> None:
        self._running -= 1
        self._settle(batch, rows, start, done.result())
        self._go_on()

    def _settle(self, batch: Sequence[_Item], rows: int, start: float, outcomes: Outcomes) -> None:
        seconds = time.perf_counter() - start
        waited = (start + self._limits.queue_seconds) * len(batch)
        failed = 0
        for item, outcome in zip(batch, outcomes, strict=True):
            waited -= item.deadline
            failed += isinstance(outcome, InferenceFailedError)
            _tell(item, outcome)
        self._on_batch(len(batch), rows, failed, waited, seconds)

    def _go_on(self) -> None:
        if self._items:
            self._schedule()
        elif not self._running:
            self._on_idle()

    def _fit_together(self, one: _Item, other: _Item) -> bool:
        return not self._sizes_vary or all(
            array.shape[1:] == other.inputs[name].shape[1:] for name, array in one.inputs.items()
        )

    def _next_batch(self) -> tuple[list[_Item], int, float]:
        """Return what is to be run, its rows, and the time."""
        batch: list[_Item] = []
        rows = 0
        now = time.perf_counter()
        while self._items:
            item = self._items[0]
            if batch and (rows + item.rows > self._limits.batch_rows or not self._fit_together(batch[0], item)):
                break
            self._items.popleft()
            self._rows -= item.rows
            if item.is_gone():
                _tell(item, ClientGoneError("the client went away"))
            elif now > item.deadline:
                _tell(item, DeadlineError("the request waited too long for its turn"))
            else:
                batch.append(item)
                rows += item.rows
        return batch, rows, now


def _tell(item: _Item, outcome: Outputs | ServingError) -> None:
    try:
        item.settle(outcome)
    except Exception:
        # The neighbours in the batch are to be told all the same.
        log.exception("an answer could not be given")


def _outcomes(model: Model, batch: Sequence[_Item]) -> Outcomes:
    """Return what becomes of each item; when the batch fails as a whole, each is tried alone."""
    try:
        return _run(model, batch)
    except InferenceFailedError as error:
        if len(batch) == 1:
            return [error]
    except Exception as error:
        if len(batch) == 1:
            # Nobody else is there to hear of it: an item without an outcome would wait for ever.
            failure = InferenceFailedError("the batch failed")
            failure.__cause__ = error
            return [failure]
    return [_outcomes(model, [item])[0] for item in batch]


def _run(model: Model, batch: Sequence[_Item]) -> Sequence[Outputs]:
    if len(batch) == 1:
        return [model.run(batch[0].inputs, batch[0].outputs)]
    inputs = {name: np.concatenate([item.inputs[name] for item in batch]) for name in batch[0].inputs}
    names = list(dict.fromkeys(name for item in batch for name in item.outputs))
    arrays = model.run(inputs, names)
    outcomes = []
    start = 0
    for item in batch:
        stop = start + item.rows
        outputs = {}
        for name in item.outputs:
            outputs[name] = arrays[name][start:stop]
        outcomes.append(outputs)
        start = stop
    return outcomes
