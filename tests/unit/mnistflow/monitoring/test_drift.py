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
    assert drift.distances([np.sort(reference, axis=0)], sample) == pytest.approx(expected)


def test_no_sample_of_the_same_distribution_is_evidence_however_large() -> None:
    """An ordinary test against a fixed reference would find out its sampling error sooner or later."""
    generator = np.random.default_rng(1)
    reference = np.sort(generator.normal(size=(500, 4)), axis=0)
    for size in (10, 1000, 300_000):
        e_values, _ = drift.e_values([reference], generator.normal(size=(size, 4)), tolerance=0.0)
        assert np.all(e_values < 1)
    e_values, _ = drift.e_values([reference], generator.normal([0, 0, 0, 1], size=(200, 4)), tolerance=0.0)
    assert e_values.argmax() == 3
    assert e_values[3] > 1000


def test_what_is_tolerated_is_no_evidence() -> None:
    generator = np.random.default_rng(2)
    reference = np.sort(generator.normal(size=(5000, 1)), axis=0)
    sample = generator.normal(0.25, size=(3000, 1))  # a distance of 0.1
    assert drift.e_values([reference], sample, tolerance=0.0)[0] > 20
    assert drift.e_values([reference], sample, tolerance=0.1)[0] < 1


def test_another_class_mix_is_evidence_and_a_missing_class_too() -> None:
    reference = np.array([[500, 500, 500, 0]])
    same, _ = drift.e_values_of_shares(reference, np.array([40, 33, 35, 0]), tolerance=0.0)
    assert np.all(same < 1)
    other, differences = drift.e_values_of_shares(reference, np.array([2, 60, 30, 16]), tolerance=0.0)
    assert other[0] > 100
    assert other[3] > 100
    assert differences[3] == pytest.approx(16 / 108)


def test_any_mixture_of_the_parts_of_a_reference_is_no_drift_and_what_lies_beyond_them_is() -> None:
    generator = np.random.default_rng(3)

    def drawn(mean: float, size: int) -> np.ndarray:
        return generator.normal(mean, size=(size, 2))

    parts = [np.sort(drawn(0, 3000), axis=0), np.sort(drawn(4, 300), axis=0)]
    for share in (0.0, 0.3, 1.0):
        mixture = np.concatenate([drawn(0, 2000 - int(2000 * share)), drawn(4, int(2000 * share))])
        assert np.all(drift.e_values(parts, mixture, tolerance=0.0)[0] < 1)
    for mean in (-1.0, 6.0):
        e_values, distances = drift.e_values(parts, drawn(mean, 2000), tolerance=0.0)
        assert np.all(e_values > 1000)
        assert np.all(distances > 0.3)
    assert np.all(drift.e_values(parts[:1], drawn(4, 2000), tolerance=0.0)[0] > 1000)


def test_a_share_between_those_of_the_parts_of_a_reference_is_no_drift() -> None:
    parts = np.array([[900, 100], [150, 150]])
    for ones in (100, 300, 500):
        e_values, differences = drift.e_values_of_shares(parts, np.array([1000 - ones, ones]), tolerance=0.0)
        assert np.all(e_values < 1)
        assert np.all(differences == 0)
    e_values, differences = drift.e_values_of_shares(parts, np.array([200, 800]), tolerance=0.0)
    assert np.all(e_values > 1000)
    assert differences[1] == pytest.approx(0.3)
