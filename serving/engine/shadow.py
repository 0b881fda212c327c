"""Runs copies of answered requests on another version, in a thread of its own, as many together as wait.

An answer pays for no more than putting its copy into a queue.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from serving.engine.batcher import Outputs
from serving.engine.model import Model
from serving.engine.rollout import Rollout, is_finite
from serving.errors import InferenceFailedError
from serving.protocol.tensors import Array

# What finds no room is dropped, so that a challenger that is slow cannot fill the memory.
WAITING_ROWS = 512
BATCH_ROWS = 64


@dataclass(frozen=True, slots=True, eq=False)
class _Copy:
    rollout: Rollout
    model: Model
    inputs: Mapping[str, Array]
    answer: Outputs
    rows: int

    def fits(self, other: "_Copy") -> bool:
        return (
            self.rollout is other.rollout
            and self.model is other.model
            and self.answer.keys() == other.answer.keys()
            and all(array.shape[1:] == other.inputs[name].shape[1:] for name, array in self.inputs.items())
        )


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of a batch: the seconds it ran, and for how many rows both versions agree; None when it failed."""

    copies: Sequence[_Copy]
    seconds: float
    agreed: int | None


class Copies:
    """The queue of copies. Used on the event loop only.

    Args:
        executor: with one thread.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._waiting: deque[_Copy] = deque()
        self._rows = 0
        self._is_running = False

    def add(self, rollout: Rollout, model: Model, inputs: Mapping[str, Array], answer: Outputs) -> None:
        """Let `model` work on what the other version of the rollout has answered, and compare."""
        rows = len(next(iter(inputs.values())))
        if self._waiting and self._rows + rows > WAITING_ROWS:
            rollout.note_dropped()
            return
        self._waiting.append(_Copy(rollout, model, inputs, answer, rows))
        self._rows += rows
        if not self._is_running:
            self._run()

    def _run(self) -> None:
        self._is_running = True
        running = asyncio.get_running_loop().run_in_executor(self._executor, _outcomes, self._next_batch())
        running.add_done_callback(self._finish)

    def _finish(self, done: asyncio.Future[Sequence[_Outcome]]) -> None:
        self._is_running = False
        for outcome in done.result():
            for copy in outcome.copies:
                copy.rollout.note(copy.model, outcome.seconds, failed=outcome.agreed is None)
            if outcome.agreed is not None:
                outcome.copies[0].rollout.note_agreement(sum(copy.rows for copy in outcome.copies), outcome.agreed)
        if self._waiting:
            self._run()

    def _next_batch(self) -> Sequence[_Copy]:
        batch = [self._waiting.popleft()]
        rows = batch[0].rows
        while self._waiting and rows + self._waiting[0].rows <= BATCH_ROWS and batch[0].fits(self._waiting[0]):
            batch.append(self._waiting.popleft())
            rows += batch[-1].rows
        self._rows -= rows
        return batch


def _outcomes(batch: Sequence[_Copy]) -> Sequence[_Outcome]:
    """Run a batch; when it fails as a whole, each copy is tried alone."""
    first = batch[0]
    inputs = {name: np.concatenate([copy.inputs[name] for copy in batch]) for name in first.inputs}
    answer = {name: np.concatenate([copy.answer[name] for copy in batch]) for name in first.answer}
    started = time.perf_counter()
    try:
        outputs = first.model.run(inputs, list(answer))
    except InferenceFailedError:
        if len(batch) == 1:
            return [_Outcome(batch, time.perf_counter() - started, None)]
        return [outcome for copy in batch for outcome in _outcomes([copy])]
    seconds = time.perf_counter() - started
    return [_Outcome(batch, seconds, _agreed(answer, outputs) if is_finite(outputs) else None)]


def _agreed(one: Outputs, other: Outputs) -> int:
    """Return for how many rows both name the same class, by their first output."""
    first, second = (next(iter(outputs.values())) for outputs in (one, other))
    same = np.argmax(first.reshape(len(first), -1), 1) == np.argmax(second.reshape(len(second), -1), 1)
    return int(same.sum())
