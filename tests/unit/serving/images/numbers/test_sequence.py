"""Sequences of spans: the best one, and the probabilities of spans, as an enumeration of all sequences has them."""

import itertools

import numpy as np
import pytest

from serving.images.numbers import sequence

SEAMS = 7


@pytest.fixture(params=range(5))
def spans(request):
    """Return the first and last seams and the scores of random spans, among them those between neighbours."""
    random = np.random.default_rng(request.param)
    pairs = [
        pair for pair in itertools.combinations(range(SEAMS), 2) if pair[1] == pair[0] + 1 or random.random() < 0.6
    ]
    first, last = np.array(pairs).T
    return first, last, random.normal(0, 2, len(pairs))


def all_sequences(first, last):
    """Yield every sequence of spans from the first seam to the last one."""

    def onwards(seam):
        if seam == SEAMS - 1:
            yield []
        for number in np.flatnonzero(first == seam).tolist():
            yield from ([number, *rest] for rest in onwards(int(last[number])))

    return list(onwards(0))


def test_the_best_sequence_has_the_highest_total_score(spans):
    first, last, scores = spans

    best = sequence.best(first, last, scores)

    assert best == max(all_sequences(first, last), key=lambda each: scores[each].sum())


def test_a_span_is_as_probable_as_all_sequences_with_it(spans):
    first, last, scores = spans
    sequences = all_sequences(first, last)
    weights = np.array([np.exp(scores[each].sum()) for each in sequences])

    total, probabilities = sequence.log_partition(first, last, scores)

    assert total == pytest.approx(np.log(weights.sum()))
    for number, probability in enumerate(probabilities):
        has_it = np.array([number in each for each in sequences])
        assert probability == pytest.approx(weights[has_it].sum() / weights.sum())


def test_one_span_is_the_only_sequence():
    one = np.array([0]), np.array([1]), np.array([-3.0])

    assert sequence.best(*one) == [0]
    assert sequence.marginals(*one) == pytest.approx([1])
