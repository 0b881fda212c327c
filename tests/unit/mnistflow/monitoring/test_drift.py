"""Distances to a reference, and their e-values."""

import numpy as np
import pytest
from scipy import stats

from mnistflow.monitoring import drift


@pytest.mark.parametrize("digits", [None, 1])
def test_distances_are_those_of_scipy_also_with_ties(digits: int | None) -> None:
    generator = np.random.default_rng(0)
    reference, sample = generator.normal(size=(400, 3)), generator.normal([0, 0.3, 2], size=(150, 3))
    if digits is not None:
        reference, sample = reference.round(digits), sample.round(digits)
    expected = [stats.ks_2samp(reference[:, k], sample[:, k], method="asymp").statistic for k in range(3)]
    assert drift.distances(np.sort(reference, axis=0), sample) == pytest.approx(expected)


def test_no_sample_of_the_same_distribution_is_evidence_however_large() -> None:
    """An ordinary test against a fixed reference would find out its sampling error sooner or later."""
    generator = np.random.default_rng(1)
    reference = np.sort(generator.normal(size=(500, 4)), axis=0)
    for size in (10, 1000, 300_000):
        e_values, _ = drift.e_values(reference, generator.normal(size=(size, 4)), tolerance=0.0)
        assert np.all(e_values < 1)
    e_values, _ = drift.e_values(reference, generator.normal([0, 0, 0, 1], size=(200, 4)), tolerance=0.0)
    assert e_values.argmax() == 3
    assert e_values[3] > 1000


def test_what_is_tolerated_is_no_evidence() -> None:
    generator = np.random.default_rng(2)
    reference = np.sort(generator.normal(size=(5000, 1)), axis=0)
    sample = generator.normal(0.25, size=(3000, 1))  # a distance of 0.1
    assert drift.e_values(reference, sample, tolerance=0.0)[0] > 20
    assert drift.e_values(reference, sample, tolerance=0.1)[0] < 1


def test_another_class_mix_is_evidence_and_a_missing_class_too() -> None:
    reference = np.array([500, 500, 500, 0])
    same, _ = drift.e_values_of_shares(reference, np.array([40, 33, 35, 0]), tolerance=0.0)
    assert np.all(same < 1)
    other, differences = drift.e_values_of_shares(reference, np.array([2, 60, 30, 16]), tolerance=0.0)
    assert other[0] > 100
    assert other[3] > 100
    assert differences[3] == pytest.approx(16 / 108)
