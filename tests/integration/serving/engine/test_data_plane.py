"""Data plane: the callback form and the coroutine of a request give the same results, also during a rollout."""

import asyncio
import json

import numpy as np
import pytest
import serving_kit as kit

from serving.engine.batcher import BatchLimits
from serving.engine.challenger.rollout import ChallengerLimits
from serving.engine.data_plane import DataPlane
from serving.engine.model_manager import ModelManager
from serving.engine.repository import ModelRepository
from serving.engine.validation import Validator
from serving.engine.validation_process import ValidationLimits
from serving.errors import OverloadedError
from serving.metrics.prometheus import Metrics

pytestmark = pytest.mark.slow

LIMITS = BatchLimits(batch_rows=8, queue_rows=16, queue_seconds=60, threads=1)


def run(repository, scenario):
    """Run a scenario on a data plane whose models are loaded, rollouts included; return its result."""

    async def main():
        metrics = Metrics()
        validator = Validator(repository, ValidationLimits(seconds=60))
        limits = ChallengerLimits(seconds=60)
        models = ModelManager(ModelRepository(repository), metrics, "", 4, validator, limits)
        await models.open()
        following = asyncio.create_task(models.follow(0.05))
        while (repository / kit.NAME / "rollout.json").exists() and not models.active_rollouts:
            await asyncio.sleep(0.01)
        try:
            return await scenario(DataPlane(models, metrics, LIMITS), metrics)
        finally:
            following.cancel()

    return asyncio.run(main())


def begin_rollout(repository, classifier, images, canary):
    kit.publish(repository, 2, classifier, images)
    spec = {"challenger": 2, "canary": canary, "shadow": False}
    (repository / kit.NAME / "rollout.json").write_text(json.dumps(spec))


def submit(plane, images, request_id=None):
    """Submit a request; return the list that receives the version that answers, and the result."""
    answers = []

    def on_answer(version, result):
        answers.append((version.version, result))

    champion = plane.models.champion(kit.NAME)
    plane.submit(champion, {"images": images}, ["probabilities"], on_answer, request_id=request_id)
    return answers


async def wait_for(lists):
    while not all(lists):
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("canary", [None, 0, 1], ids=["no rollout", "champion", "challenger"])
def test_callback_and_coroutine_answer_alike(repository, data, first, second, canary):
    images = data[0][:3]
    if canary is not None:
        begin_rollout(repository, second, data[0], canary)

    async def scenario(plane, metrics):
        answers = submit(plane, images, "request")
        assert answers == []  # never called at once
        await wait_for([answers])
        version, outputs = await plane.infer(
            plane.models.champion(kit.NAME), {"images": images}, ["probabilities"], request_id="request"
        )
        exact, _ = await plane.infer(plane.models.champion(kit.NAME), {"images": images}, ["probabilities"])
        return answers, (version.version, outputs), exact.version

    ((called,), awaited, exact) = run(repository, scenario)

    expected, classifier = (2, second) if canary else (1, first)
    assert called[0] == awaited[0] == expected
    assert exact == 1
    for result in (called[1], awaited[1]):
        assert np.allclose(result["probabilities"], classifier.probabilities(images), atol=1e-5)


def test_a_cancelled_coroutine_drops_its_request(repository, data):
    async def scenario(plane, metrics):
        champion = plane.models.champion(kit.NAME)
        request = asyncio.create_task(plane.infer(champion, {"images": data[0][:3]}, ["probabilities"]))
        await asyncio.sleep(0)
        request.cancel()
        await wait_for([submit(plane, data[0][:2])])
        return request.cancelled(), metrics.values("mnistflow_rows_total")

    cancelled, rows = run(repository, scenario)

    assert cancelled
    assert set(rows.values()) == {2.0}


@pytest.mark.parametrize("canary", [0, 1], ids=["champion", "challenger"])
def test_a_full_queue_reaches_the_callback_during_a_rollout(repository, data, second, canary):
    begin_rollout(repository, second, data[0], canary)

    async def scenario(plane, metrics):
        # Both queues are full: neither the challenger nor the champion, which stands in for it, takes another request.
        requests = [submit(plane, data[0][:16], "request") for _ in range(3)]
        with pytest.raises(OverloadedError):
            submit(plane, data[0][:16])
        late = submit(plane, data[0][:16], "request")
        assert late == []
        await wait_for([*requests, late])
        return requests, late

    requests, late = run(repository, scenario)

    versions = [version for answers in requests for version, result in answers if isinstance(result, dict)]
    assert versions == ([2, 1] if canary else [1])
    assert [len(answers) for answers in (*requests, late)] == [1, 1, 1, 1]
    assert isinstance(late[0][1], OverloadedError)
