"""What an answer says about its own doubt."""

import numpy as np
import pytest

from serving.doubt import Doubt

CLASSES = tuple("0123456789")
DOUBT = Doubt(coverage=0.99, set_threshold=0.02, refusal_threshold=0.6)


def probabilities(**shares: float):
    """Probabilities of the digits named `d4=0.5`; the others share the rest."""
    named = {int(name[1:]): share for name, share in shares.items()}
    rest = (1 - sum(named.values())) / (10 - len(named))
    return np.array([named.get(digit, rest) for digit in range(10)], np.float32)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ({"d4": 0.999}, {"prediction_set": ["4"], "uncertain": False}),
        ({"d4": 0.7, "d9": 0.29}, {"prediction_set": ["4", "9"], "uncertain": False}),
        (
            {"d9": 0.51, "d4": 0.48},
            {"prediction_set": ["9", "4"], "uncertain": True, "reason": "this could be 9 or 4"},
        ),
        (
            {"d9": 0.5, "d4": 0.3, "d7": 0.19},
            {"prediction_set": ["9", "4", "7"], "uncertain": True, "reason": "this could be 9, 4 or 7"},
        ),
        (
            {},
            {"prediction_set": list(CLASSES), "uncertain": True, "reason": "this looks like none of the classes"},
        ),
    ],
)
def test_an_answer_names_what_it_may_be(shares, expected) -> None:
    assert DOUBT.describe(probabilities(**shares), CLASSES) == expected


def test_the_most_probable_class_is_always_named() -> None:
    strict = Doubt(coverage=0.5, set_threshold=0.9, refusal_threshold=0.9)
    answer = strict.describe(probabilities(d3=0.5), CLASSES)
    assert answer == {
        "prediction_set": ["3"],
        "uncertain": True,
        "reason": "this looks only roughly like 3",
    }
