"""Prediction sets and refusals: what their thresholds promise for examples that they were not fitted on."""

import numpy as np
import pytest

from mnistflow.tasks.doubt import Doubt


def answers(seed: int, count: int = 10_000):
    """Probabilities of a classifier that is mostly sure, calibrated, and the labels."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1, (count, 10))
    logits[np.arange(count), generator.integers(10, size=count)] += generator.choice([3, 12], count, p=[0.05, 0.95])
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (probabilities.cumsum(axis=1) > generator.random((count, 1))).argmax(axis=1)
    return probabilities.astype(np.float32), labels


@pytest.fixture(scope="module")
def doubt() -> Doubt:
    return Doubt.fit(*answers(0), coverage=0.99, false_refusals=0.01)


def test_the_sets_of_doubtful_examples_have_their_coverage(doubt) -> None:
    probabilities, labels = answers(1)
    sets = doubt.prediction_sets(probabilities)
    covered = sets[np.arange(len(labels)), labels]
    doubtful = np.argsort(probabilities.max(axis=1))[: len(labels) // 20]
    assert covered[doubtful].mean() == pytest.approx(0.99, abs=0.015)
    assert covered.mean() > 0.99
    assert sets[doubtful].sum(axis=1).mean() > 2
    assert sets.sum(axis=1).mean() < 1.5


def test_every_set_has_the_most_probable_class(doubt) -> None:
    probabilities = np.full((1, 10), 0.1, np.float32)
    strict = Doubt(coverage=0.5, set_threshold=0.5, false_refusals=0.5, refusal_threshold=0.5)
    assert strict.prediction_sets(probabilities).any()
    sure, _ = answers(2)
    assert doubt.prediction_sets(sure)[np.arange(len(sure)), sure.argmax(axis=1)].all()


def test_as_many_examples_are_refused_as_allowed(doubt) -> None:
    probabilities, _ = answers(3)
    assert doubt.is_refused(probabilities).mean() == pytest.approx(0.01, abs=0.005)
    assert doubt.is_refused(np.full((1, 10), 0.1, np.float32)).all()


def test_few_examples_promise_nothing_that_they_cannot_show() -> None:
    probabilities, labels = answers(4, count=50)
    few = Doubt.fit(probabilities, labels, coverage=0.99, false_refusals=0.01)
    assert few.set_threshold == 0
    assert few.prediction_sets(probabilities).all()
    assert few.refusal_threshold == 0
    assert not few.is_refused(probabilities).any()
