"""How unexpected errors and interrupts end."""

import pytest

from mnistflow import errors
from mnistflow.errors import MnistflowError


def test_an_unexpected_error_becomes_one_line() -> None:
    with pytest.raises(MnistflowError, match="unexpected RuntimeError: of a library"), errors.in_one_line():
        raise RuntimeError("of a library")


def test_an_interrupt_that_a_library_has_replaced_is_one() -> None:
    with pytest.raises(KeyboardInterrupt), errors.in_one_line():
        raise RuntimeError("pybind11::error_already_set: ORIGINAL InvalidArgumentError REPLACED BY KeyboardInterrupt")
