"""Numbers in queries and headers."""

import pytest

from serving.http.request import whole_number


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("7", 7), ("007", 7), ("500", 500)])
def test_decimal_digits_are_a_number(text: str, number: int) -> None:
    assert whole_number(text, 500) == number


@pytest.mark.parametrize("text", ["", "501", "-1", "+1", "1.0", "1e2", " 1", "1_0", "²", "٣", "0" * 4, "9" * 5000])
def test_other_texts_and_larger_numbers_are_none(text: str) -> None:
    assert whole_number(text, 500) is None
