"""Accuracy of served predictions, with and without labels."""

import numpy as np
import pytest

from mnistflow.monitoring import accuracy


def test_the_confidence_sequence_holds_at_all_looks_together() -> None:
    generator = np.random.default_rng(0)
    streams, labels, true = 200, 600, 0.93
    right = generator.random((streams, labels)) < true
    missed = 0
    for stream in right:
        counts = np.cumsum(stream)
        looks = [accuracy.confidence_sequence(int(counts[n - 1]), n) for n in range(20, labels + 1, 20)]
        missed += any(not look.low <= true <= look.high for look in looks)
    assert missed / streams <= 0.05


def test_the_confidence_sequence_becomes_narrow() -> None:
    nothing, some, many = (accuracy.confidence_sequence(9 * n, 10 * n) for n in (0, 10, 1000))
    assert (nothing.low, nothing.high) == (0, 1)
    assert 0.75 < some.low < 0.9 < some.high < 0.98
    assert 0.88 < many.low < 0.9 < many.high < 0.92


@pytest.mark.parametrize("trials", [60_000, 10**8])
def test_bounds_of_many_trials_are_close_to_the_share(trials: int) -> None:
    for successes in (0, 1, trials // 2, trials - 1, trials):
        found = accuracy.confidence_sequence(successes, trials)
        assert 0 <= found.low <= successes / trials <= found.high <= 1
        assert found.high - found.low < 0.03
        assert found.low - 0.01 < accuracy.share_lower_bound(successes, trials) <= successes / trials


def test_confidence_tells_accuracy_of_calibrated_predictions() -> None:
    generator = np.random.default_rng(1)
    reference = generator.beta(20, 1, 5000)
    right = generator.random(5000) < reference
    covered = 0
    for _ in range(200):
        confidence = generator.beta(6, 1, 400)
        found = accuracy.estimate_accuracy(confidence, reference, right)
        realised = np.mean(generator.random(400) < confidence)
        covered += bool(found.low <= realised <= found.high)
    assert covered >= 0.9 * 200


def test_a_known_excess_of_confidence_is_taken_off() -> None:
    confidence, right = np.full(1000, 0.99), np.arange(1000) % 20 > 0
    assert accuracy.estimate_accuracy(np.full(500, 0.99), confidence, right).estimate == pytest.approx(0.95)


def test_the_lower_bound_of_a_mean_is_below_it_and_close_with_many_values() -> None:
    values = (np.arange(6000) % 100 > 1).astype(float)
    assert 0.96 < accuracy.mean_lower_bound(values, 0.001) < 0.98
    assert accuracy.mean_lower_bound(values[:1], 0.001) == 0
    few = (np.arange(240) % 20 > 0).astype(float)
    assert 0.85 < accuracy.mean_lower_bound(few, 0.001) < 0.9
    assert accuracy.mean_lower_bound(np.zeros(50), 0.001) == 0


def test_few_values_hardly_ever_exceed_the_lower_bound_of_their_mean() -> None:
    generator = np.random.default_rng(4)
    drawn = generator.random((2000, 60)) < 0.9
    assert np.mean([accuracy.mean_lower_bound(values.astype(float), 0.1) > 0.9 for values in drawn]) <= 0.1


@pytest.mark.slow
def test_the_bound_of_a_share_holds_at_all_looks_together_although_chances_change() -> None:
    generator = np.random.default_rng(2)
    streams, trials = 60, 200
    chances = np.where(np.arange(trials) % 100 < 50, 0.5, 0.2)
    lost = generator.random((streams, trials)) < chances
    exceeded = 0
    for stream in lost:
        counts = np.cumsum(stream)
        exceeded += any(accuracy.share_lower_bound(int(counts[n - 1]), n) > 0.5 for n in range(10, trials + 1, 10))
    assert exceeded / streams <= 0.05
    assert accuracy.share_lower_bound(0, 0) == 0
    assert accuracy.share_lower_bound(19, 20) > 0.6
    assert 0.86 < accuracy.share_lower_bound(900, 1000) < 0.9
