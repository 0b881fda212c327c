"""What waits for a model is run together, and nobody suffers from their neighbours."""

import asyncio

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


class Plane:
    """A batcher on a model, and what it tells of itself. Runs batches in the loop's own threads."""

    def __init__(self, model, limits=LIMITS):
        self.batches = []
        self.failed = 0
        self.idle = 0
        self.batcher = Batcher(model, limits, None, self._on_batch, self._on_idle)

    def ask(self, images, is_cancelled=lambda: False):
        """Return a future of the outputs; cancelling it drops the request."""
        future = asyncio.get_running_loop().create_future()

        def on_done(result):
            if not future.done():
                (future.set_exception if isinstance(result, Exception) else future.set_result)(result)

        self.batcher.submit({"images": images}, ["probabilities"], on_done, lambda: future.done() or is_cancelled())
        return future

    def _on_batch(self, requests, rows, failed, waited, seconds):
        self.batches.append(rows)
        self.failed += failed

    def _on_idle(self):
        self.idle += 1


async def given(future):
    return (await future)["probabilities"]


def test_what_comes_together_is_run_together_and_answered_apart(model, data, first):
    async def scenario():
        plane = Plane(model)
        asked = [plane.ask(data[0][start : start + rows]) for start, rows in ((0, 1), (1, 3), (4, 2), (6, 5))]
        return plane, [await given(future) for future in asked]

    plane, answers = asyncio.run(scenario())

    assert plane.batches == [6, 5]  # at most 8 rows each
    assert plane.idle == 1
    assert np.allclose(np.concatenate(answers), first.probabilities(data[0][:11]), atol=1e-5)


def test_a_request_larger_than_a_batch_runs_alone(model, data, first):
    async def scenario():
        plane = Plane(model, BatchLimits(batch_rows=8, queue_rows=2000, queue_seconds=60, threads=1))
        small, large = plane.ask(data[0][:1]), plane.ask(data[0][:1000])
        return plane, await given(small), await given(large)

    plane, small, large = asyncio.run(scenario())

    assert plane.batches == [1, 1000]
    assert np.allclose(small, first.probabilities(data[0][:1]), atol=1e-5)
    assert np.allclose(large, first.probabilities(data[0][:1000]), atol=1e-5)


@pytest.mark.hostile
def test_who_leaves_is_dropped_and_the_others_are_answered(model, data, first):
    async def scenario():
        plane = Plane(model)
        asked = [
            plane.ask(image[np.newaxis], lambda number=number: number == 5) for number, image in enumerate(data[0][:8])
        ]
        asked[3].cancel()
        return plane, await asyncio.gather(*map(given, asked), return_exceptions=True)

    plane, answers = asyncio.run(scenario())

    assert plane.batches == [6]
    assert isinstance(answers[3], asyncio.CancelledError)
    assert isinstance(answers[5], ClientGoneError)
    others = [0, 1, 2, 4, 6, 7]
    right = first.probabilities(data[0][others])
    assert np.allclose(np.concatenate([answers[number] for number in others]), right, atol=1e-5)


def test_a_bad_item_fails_alone(model, data, first):
    async def scenario():
        plane = Plane(model)
        # Two of a size that the model does not take: they go into one batch, and both fail.
        asked = [plane.ask(images) for images in (data[0][:1], data[0][1:2, :5], data[0][2:3, :5], data[0][3:4])]
        return plane, await asyncio.gather(*map(given, asked), return_exceptions=True)

    plane, answers = asyncio.run(scenario())

    assert plane.failed == 2
    assert [isinstance(answer, Exception) for answer in answers] == [False, True, True, False]
    assert np.allclose(answers[3], first.probabilities(data[0][3:4]), atol=1e-5)


def test_a_full_queue_turns_away_and_recovers(model, data):
    async def scenario():
        plane = Plane(model)
        asked = [plane.ask(data[0][:32]) for _ in range(2)]
        with pytest.raises(OverloadedError):
            plane.ask(data[0][:1])
        await asyncio.gather(*asked)
        return await given(plane.ask(data[0][:1]))

    assert asyncio.run(scenario()).shape == (1, 10)


def test_who_has_waited_too_long_is_told(model, data):
    async def scenario():
        plane = Plane(model, BatchLimits(batch_rows=8, queue_rows=64, queue_seconds=-1, threads=1))
        await plane.ask(data[0][:1])

    with pytest.raises(DeadlineError):
        asyncio.run(scenario())


@pytest.mark.hostile
@pytest.mark.slow
def test_ten_thousand_random_cancellations_leave_nothing_stuck(model, data, first):
    random = np.random.default_rng(0)
    right = first.probabilities(data[0][:64])

    async def client(plane, number):
        row = number % 64
        asking = asyncio.ensure_future(given(plane.ask(data[0][row : row + 1])))
        if random.random() < 0.5:
            await asyncio.sleep(random.random() / 1000)
            asking.cancel()
        try:
            return np.allclose(await asking, right[row], atol=1e-5)
        except asyncio.CancelledError:
            return None

    async def scenario():
        plane = Plane(model)
        answers = []
        for start in range(0, 20_000, 50):
            answers += await asyncio.gather(*(client(plane, number) for number in range(start, start + 50)))
        return plane, answers

    plane, answers = asyncio.run(scenario())

    assert len(answers) == 20_000
    assert False not in answers
    assert answers.count(True) >= 9_000
    assert plane.idle
