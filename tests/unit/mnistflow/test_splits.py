"""Parts of a data set: official examples, and those of feedback, which are the last ones of their split."""

from dataclasses import replace

import numpy as np
import pytest

from mnistflow.splits import Dataset, Split


@pytest.fixture(scope="module")
def reported(digits: Dataset) -> Dataset:
    return replace(digits, feedback=3, feedback_validation=2)


def equal(one: Split, other: Split) -> bool:
    return np.array_equal(one.inputs, other.inputs) and np.array_equal(one.targets, other.targets)


def test_feedback_is_the_last_part_of_a_split(reported: Dataset) -> None:
    assert (len(reported.feedback_train), len(reported.held_out_feedback)) == (3, 2)
    assert np.array_equal(reported.feedback_train.inputs, reported.train.inputs[-3:])
    assert np.array_equal(reported.held_out_feedback.targets, reported.validation.targets[-2:])
    assert equal(reported.official_train.concatenate(reported.feedback_train), reported.train)
    assert equal(reported.official_validation.concatenate(reported.held_out_feedback), reported.validation)


def test_without_feedback_all_examples_are_official(digits: Dataset) -> None:
    assert equal(digits.official_train, digits.train)
    assert equal(digits.official_validation, digits.validation)
    assert len(digits.feedback_train) == len(digits.held_out_feedback) == 0
