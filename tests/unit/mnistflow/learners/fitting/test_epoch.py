"""Extent of an epoch: small data is passed over several times, large data once, and numbers are obeyed."""

import numpy as np
import pytest
from checkouts import ROOT

from mnistflow import config
from mnistflow.learners.fitting.epoch import EpochPlan

TRAIN = config.load(ROOT / "params.yaml").train


@pytest.mark.parametrize(
    ("examples", "batch_size", "passes", "steps", "augmentation"),
    [
        (54_000, 128, 1, 422, 1.0),  # MNIST
        (12_800, 128, 1, 100, 1.0),
        (7_200, 128, 2, 113, 1.602),
        (720, 90, 13, 104, 3.0),
        (72, 16, 23, 104, 3.0),
        (27, 16, 60, 102, 3.0),
        (1, 16, 1600, 100, 3.0),
    ],
)
def test_an_epoch_of_the_defaults(examples: int, batch_size: int, passes: int, steps: int, augmentation: float) -> None:
    plan = EpochPlan.of(TRAIN, examples)
    assert (plan.batch_size, plan.passes, plan.steps) == (batch_size, passes, steps)
    assert plan.augmentation == pytest.approx(augmentation, abs=1e-3)


@pytest.mark.parametrize("examples", [5, 100, 54_000])
def test_numbers_are_obeyed(examples: int) -> None:
    exact = TRAIN.model_copy(update={"batch_size": 50, "min_steps": 0})
    assert EpochPlan.of(exact, examples) == EpochPlan(examples, batch_size=50, passes=1, augmentation=1.0)
    assert EpochPlan.of(TRAIN.model_copy(update={"augment_gain": 1.0}), examples).augmentation == 1.0


def test_every_pass_shows_every_example_in_an_order_of_its_own() -> None:
    once, often = (EpochPlan(20, batch_size=8, passes=passes, augmentation=1.0) for passes in (1, 3))
    passes = often.order(seed=0, number=4).reshape(3, 20)
    assert np.array_equal(np.sort(passes), np.tile(np.arange(20), (3, 1)))
    assert len({tuple(one) for one in passes}) == 3
    assert np.array_equal(passes[0], once.order(seed=0, number=4))
    assert not np.array_equal(passes[0], once.order(seed=0, number=5))
