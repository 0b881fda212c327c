"""Checks of one look: evidence of each, whether it raises an alarm, and which statistics show it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mnistflow.arrays import Array, Outputs
from mnistflow.monitoring import accuracy, detection, drift, statistics
from mnistflow.monitoring.accuracy import Interval
from mnistflow.monitoring.config import MonitorConfig
from mnistflow.monitoring.detection import Detector, EValues
from mnistflow.monitoring.drift import BOUND_FAILURE_PROBABILITY
from mnistflow.monitoring.reference import Reference, counts, rounded
from mnistflow.monitoring.state import CHECKS, Check

HOURS_A_YEAR = 8766.0
SHOWN = 3  # statistics named as the reason of an alarm
SHARE = 0.1  # of the largest evidence, that makes a statistic worth naming
MIN_MEAN = 0.01  # lower bound of a reference mean, so that bets below it stay possible


@dataclass(frozen=True)
class Sample:
    """Traffic of one look.

    Attributes:
        inputs: statistics of the images, float32 `[n, k]`, at least one.
        probabilities: the model's predictions, float32 `[n, classes]`.
        right: whether the predicted class equals the feedback, bool `[labelled]`.
    """

    inputs: Array
    probabilities: Outputs
    right: Array


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Attributes:
        detector: after the look; restarted after an alarm.
        evidence: as a share of what raises an alarm.
        reason: the statistics with the most evidence.
    """

    detector: Detector
    evidence: float
    reason: str

    @property
    def is_alarm(self) -> bool:
        """Whether the evidence is enough."""
        return self.evidence >= 1


@dataclass(frozen=True)
class Findings:
    """The results of a look.

    Attributes:
        results: of each check.
        estimated: accuracy without labels.
        distances: name of a statistic -> its distance to the reference.
    """

    results: Mapping[Check, CheckResult]
    estimated: Interval
    distances: Mapping[str, float] = field(default_factory=dict)

    @property
    def alarms(self) -> Mapping[Check, str]:
        """The checks that raise an alarm, and why."""
        return {check: found.reason for check, found in self.results.items() if found.is_alarm}


@dataclass(frozen=True)
class _Evidence:
    """E-values of one look, and the name of each component's alternative."""

    e_values: EValues
    names: Sequence[str]


def examine(
    reference: Reference,
    sample: Sample,
    detectors: Mapping[Check, Detector],
    hours: float,
    config: MonitorConfig,
) -> Findings:
    """Run all checks on the traffic since the last look.

    Args:
        reference: of the version that made the predictions.
        sample: of the traffic since the last look.
        detectors: after the last look; a check that is missing begins without evidence.
        hours: since the last look.
        config: section `monitor` of params.yaml.
    """
    inputs, distances = _inputs(reference, sample, config)
    outputs, output_distances = _outputs(reference, sample, config)
    confidence = sample.probabilities.max(axis=1)
    reference_confidence = reference.probabilities.max(axis=1)
    reference_confidence_parts = [part.max(axis=1) for part in reference.probability_parts]
    evidence: dict[Check, _Evidence] = {
        "inputs": inputs,
        "outputs": outputs,
        "confidence": _mean_drop(confidence, reference_confidence_parts, "confidence", config),
        "accuracy": _mean_drop(sample.right, reference.right_parts, "accuracy", config),
    }
    results = {}
    for check in CHECKS:
        found = evidence[check]
        before = detectors.get(check) or Detector.initial(len(found.e_values))
        # Without feedback there is nothing to learn about accuracy, and its detector waits.
        has_data = check != "accuracy" or len(sample.right) > 0
        results[check] = _result(before, found, hours / HOURS_A_YEAR if has_data else 0.0, config)
    estimated = accuracy.estimate_accuracy(confidence, reference_confidence, reference.right)
    return Findings(results, estimated, {**distances, **output_distances})


def _result(before: Detector, found: _Evidence, years: float, config: MonitorConfig) -> CheckResult:
    after = before.after(found.e_values, years)
    # The checks share the false alarms of a year equally.
    evidence = after.evidence * config.false_alarms / len(CHECKS)
    largest = max(after.components)
    order = np.argsort(after.components)[::-1][:SHOWN]
    named = [found.names[index] for index in order if after.components[index] > SHARE * largest]
    return CheckResult(after.restarted() if evidence >= 1 else after, evidence, ", ".join(dict.fromkeys(named)))


def _inputs(reference: Reference, sample: Sample, config: MonitorConfig) -> tuple[_Evidence, dict[str, float]]:
    e_values, distances = drift.e_values(reference.input_parts, sample.inputs, config.tolerance)
    named = {name: float(distance) for name, distance in zip(statistics.NAMES, distances, strict=True)}
    return _Evidence(e_values, statistics.NAMES), named


def _outputs(reference: Reference, sample: Sample, config: MonitorConfig) -> tuple[_Evidence, dict[str, float]]:
    parts = [np.sort(rounded(part), axis=0) for part in reference.probability_parts]
    probabilities, distances = drift.e_values(parts, rounded(sample.probabilities), config.tolerance)
    shares, differences = drift.e_values_of_shares(
        reference.class_counts, counts(sample.probabilities), config.tolerance
    )
    names = [
        *(f"probability of class {one}" for one in reference.classes),
        *(f"share of class {one}" for one in reference.classes),
    ]
    named = {"probabilities": float(distances.max()), "class_mix": float(differences.sum() / 2)}
    return _Evidence(np.concatenate([probabilities, shares]), names), named


def _mean_drop(values: Array, reference_parts: Sequence[Array], name: str, config: MonitorConfig) -> _Evidence:
    """Return the evidence that a mean has fallen below those of all parts of the reference by more than the margin."""
    lowest = min(
        accuracy.mean_lower_bound(np.asarray(part, float), BOUND_FAILURE_PROBABILITY / len(reference_parts))
        for part in reference_parts
    )
    floor = max(lowest - config.max_accuracy_drop, MIN_MEAN)
    e_values = detection.e_values_of_lower_mean(np.asarray(values, float), floor, accuracy.alternative_means(floor))
    return _Evidence(e_values, [f"{name} below {floor:.1%}"] * len(e_values))
