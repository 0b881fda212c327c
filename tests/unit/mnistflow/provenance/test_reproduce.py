"""Tolerance of a reproduction on another machine."""

import numpy as np
import pytest

from mnistflow import tasks
from mnistflow.errors import NotReproduced
from mnistflow.provenance.reproduce import check_predictions

ROWS = 1000
OTHER_CPU = "cpu differs: A instead of B"


def probabilities(wrong: int = 0) -> np.ndarray:
    """Return outputs for two classes, of which `wrong` examples are predicted otherwise."""
    outputs = np.tile(np.array([0.9, 0.1], np.float32), (ROWS, 1))
    outputs[:wrong] = outputs[:wrong, ::-1]
    return outputs


def test_one_in_a_hundred_predictions_may_differ() -> None:
    task = tasks.get("image_classification")
    assert check_predictions(task, probabilities(), probabilities(10), OTHER_CPU) == 10
    with pytest.raises(NotReproduced, match=f"{OTHER_CPU}: 11 of 1000 predictions differ.*allowed: 1%"):
        check_predictions(task, probabilities(), probabilities(11), OTHER_CPU)


def test_outputs_without_classes_may_differ_a_little() -> None:
    task = tasks.get("forecasting")
    recorded = np.linspace(0, 1, ROWS, dtype=np.float32)[:, None]
    assert check_predictions(task, recorded, recorded + np.float32(0.04), OTHER_CPU) == 0
    for outputs in (recorded + np.float32(0.06), np.full_like(recorded, np.nan)):
        with pytest.raises(NotReproduced, match="outputs by up to"):
            check_predictions(task, recorded, outputs, OTHER_CPU)


def test_other_test_examples_are_named() -> None:
    task = tasks.get("image_classification")
    with pytest.raises(NotReproduced, match=r"shape \(999, 2\) instead of \(1000, 2\)"):
        check_predictions(task, probabilities(), probabilities()[1:], None)
