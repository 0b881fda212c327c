"""Batcher: requests that wait run together, and none affects the result of another one."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import serving_kit as kit

from serving.engine.batcher import Batcher, BatchLimits
from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.errors import ClientGoneError, DeadlineError, OverloadedError

LIMITS = BatchLimits(batch_rows=8, queue_rows=64, queue_seconds=60, threads=1)


@pytest.fixture
def model(repository):
    return Model(ModelRepository(repository).read(kit.NAME, 1))


class RecordedBatcher:
    """A batcher of a model, with records of its callbacks. Without an executor, batches run in the loop's threads."""

    def __init__(self, model, limits=LIMITS, executor: Any = None):
        self.batches: list[int] = []
        self.failed = 0
        self.waited_seconds = 0.0
        self.idle = 0
        self.batcher = Batcher(model, limits, executor, self._on_batch, self._on_idle)

    def ask(self, images, is_cancelled=lambda: False):
        """Return a future of the outputs; cancelling it drops the request."""
        future = asyncio.get_running_loop().create_future()

        def on_done(_, result):
            if not future.done():
                (future.set_exception if isinstance(result, Exception) else future.set_result)(result)

        self.batcher.submit({"images": images}, ["probabilities"], on_done, lambda: future.done() or is_cancelled())
        return future

    def _on_batch(self, batch):
        self.batches.append(batch.rows)
        self.failed += batch.failed
        self.waited_seconds += batch.waited_seconds

    def _on_idle(self):
        self.idle += 1


async def probabilities(future):
    return (await future)["probabilities"]


def test_requests_that_wait_together_run_in_one_batch_and_get_their_own_results(model, data, first):
    async def scenario():
        recorded = RecordedBatcher(model)
        asked = [recorded.ask(data[0][start : start + rows]) for start, rows in ((0, 1), (1, 3), (4, 2), (6, 5))]
        return recorded, [await probabilities(future) for future in asked]

    recorded, answers = asyncio.run(scenario())

    assert recorded.batches == [6, 5]  # at most 8 rows each
    assert recorded.idle == 1
    assert np.allclose(np.concatenate(answers), first.probabilities(data[0][:11]), atol=1e-5)


def test_a_request_larger_than_a_batch_runs_alone(model, data, first):
    async def scenario():
        recorded = RecordedBatcher(model, BatchLimits(batch_rows=8, queue_rows=2000, queue_seconds=60, threads=1))
        small, large = recorded.ask(data[0][:1]), recorded.ask(data[0][:1000])
        return recorded, await probabilities(small), await probabilities(large)

    recorded, small, large = asyncio.run(scenario())

    assert recorded.batches == [1, 1000]
    assert np.allclose(small, first.probabilities(data[0][:1]), atol=1e-5)
    assert np.allclose(large, first.probabilities(data[0][:1000]), atol=1e-5)


@pytest.mark.hostile
def test_a_cancelled_request_is_dropped_and_the_others_are_answered(model, data, first):
    async def scenario():
        recorded = RecordedBatcher(model)
        asked = [
            recorded.ask(image[np.newaxis], lambda number=number: number == 5)
            for number, image in enumerate(data[0][:8])
        ]
        asked[3].cancel()
        return recorded, await asyncio.gather(*map(probabilities, asked), return_exceptions=True)

    recorded, answers = asyncio.run(scenario())

    assert recorded.batches == [6]
    assert isinstance(answers[3], asyncio.CancelledError)
    assert isinstance(answers[5], ClientGoneError)
    others = [0, 1, 2, 4, 6, 7]
    right = first.probabilities(data[0][others])
    assert np.allclose(np.concatenate([answers[number] for number in others]), right, atol=1e-5)


def test_a_bad_request_fails_alone(model, data, first):
    async def scenario():
        recorded = RecordedBatcher(model)
        # Two of a size that the model does not take: they go into one batch, and both fail.
        asked = [recorded.ask(images) for images in (data[0][:1], data[0][1:2, :5], data[0][2:3, :5], data[0][3:4])]
        return recorded, await asyncio.gather(*map(probabilities, asked), return_exceptions=True)

    recorded, answers = asyncio.run(scenario())

    assert recorded.failed == 2
    assert [isinstance(answer, Exception) for answer in answers] == [False, True, True, False]
    assert np.allclose(answers[3], first.probabilities(data[0][3:4]), atol=1e-5)


def test_a_full_queue_refuses_requests_and_recovers(model, data):
    async def scenario():
        recorded = RecordedBatcher(model)
        asked = [recorded.ask(data[0][:32]) for _ in range(2)]
        with pytest.raises(OverloadedError):
            recorded.ask(data[0][:1])
        await asyncio.gather(*asked)
        return await probabilities(recorded.ask(data[0][:1]))

    assert asyncio.run(scenario()).shape == (1, 10)


def test_a_request_that_waited_too_long_gets_an_error(model, data):
    async def scenario():
        recorded = RecordedBatcher(model, BatchLimits(batch_rows=8, queue_rows=64, queue_seconds=-1, threads=1))
        await recorded.ask(data[0][:1])

    with pytest.raises(DeadlineError):
        asyncio.run(scenario())


def test_waiting_for_a_free_thread_is_queue_time(model, data):
    limits = BatchLimits(batch_rows=8, queue_rows=64, queue_seconds=60, threads=1, inline_seconds=0)
    release = threading.Event()

    async def scenario(executor):
        executor.submit(release.wait)  # a batch of another model
        recorded = RecordedBatcher(model, limits, executor)
        asked = recorded.ask(data[0][:1])
        while recorded.batcher.waiting:
            await asyncio.sleep(0)
        start = time.perf_counter()
        await asyncio.sleep(0.05)
        held = time.perf_counter() - start
        release.set()
        await asked
        return held, recorded.waited_seconds

    with ThreadPoolExecutor(1) as executor:
        held, waited = asyncio.run(scenario(executor))

    assert waited >= held


@pytest.mark.hostile
@pytest.mark.slow
def test_ten_thousand_random_cancellations_leave_nothing_stuck(model, data, first):
    random = np.random.default_rng(0)
    right = first.probabilities(data[0][:64])

    async def client(recorded, number):
        row = number % 64
        asking = asyncio.ensure_future(probabilities(recorded.ask(data[0][row : row + 1])))
        if random.random() < 0.5:
            await asyncio.sleep(random.random() / 1000)
            asking.cancel()
        try:
            return np.allclose(await asking, right[row], atol=1e-5)
        except asyncio.CancelledError:
            return None

    async def scenario():
        recorded = RecordedBatcher(model)
        answers = []
        for start in range(0, 20_000, 50):
            answers += await asyncio.gather(*(client(recorded, number) for number in range(start, start + 50)))
        return recorded, answers

    recorded, answers = asyncio.run(scenario())

    assert len(answers) == 20_000
    assert False not in answers
    assert answers.count(True) >= 9_000
    assert recorded.idle
