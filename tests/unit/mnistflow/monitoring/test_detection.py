"""E-values, and the bound on false alarms of detectors that accumulate them."""

import numpy as np
import pytest
from scipy import integrate

from mnistflow.monitoring import detection
from mnistflow.monitoring.detection import Detector


def test_the_expectation_of_calibrated_uniform_p_values_is_one() -> None:
    # Substituted p = exp(-x), because the e-values of small p are large.
    total, _ = integrate.quad(lambda x: float(detection.e_values_of(np.exp(-x))) * np.exp(-x), 0, 600, limit=500)
    assert total == pytest.approx(1, abs=0.01)  # what is missing is beyond e^-600


def test_e_values_fall_as_p_values_rise_and_stay_finite() -> None:
    e_values = detection.e_values_of(np.array([0.0, 1e-200, 1e-9, 0.01, 0.5, 1 - 1e-9, 1.0]))
    assert np.all(np.isfinite(e_values))
    assert np.all(np.diff(e_values) <= 0)
    assert e_values[-1] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("mean", [0.3, 0.9, 0.99])
def test_bets_on_a_lower_mean_do_not_win_at_the_mean_or_above(mean: float) -> None:
    lower = [mean / 3, mean * 0.95]
    for true in (mean, mean + (1 - mean) / 2):
        expected = sum(
            probability * detection.e_values_of_lower_mean(np.array([value]), mean, lower)
            for value, probability in ((1.0, true), (0.0, 1 - true))
        )
        assert np.all(expected <= 1 + 1e-9)
    assert np.all(detection.e_values_of_lower_mean(np.zeros(50), mean, lower) > 1)
    assert np.all(detection.e_values_of_lower_mean(np.zeros(100_000), mean, lower) < np.inf)


def test_unchanged_traffic_raises_at_most_the_stated_number_of_false_alarms() -> None:
    """P-values of unchanged traffic are uniform, the worst case; a detector is asked for one alarm in 100 looks."""
    generator = np.random.default_rng(0)
    alarms, looks, components = 0, 20_000, 5
    detector = Detector.initial(components)
    for _ in range(looks):
        detector = detector.after(detection.e_values_of(generator.uniform(size=components)), years=0.01)
        if detector.evidence >= 1:
            alarms += 1
            detector = detector.restarted()
    assert 0 < alarms <= looks / 100


def test_evidence_grows_by_looks_that_agree_and_is_gone_after_an_alarm() -> None:
    detector = Detector.initial(2)
    history = []
    for _ in range(3):
        detector = detector.after(np.array([30.0, 0.5]), years=1e-4)
        history.append(detector.evidence)
    assert history == sorted(history)
    assert history[-1] > 1
    assert detector.restarted() == Detector((0.0, 0.0))
