"""Explanation of a prediction, as JSON: the input of the model, the box of the digit, and the steps to there."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from serving.images import steps
from serving.images.numbers.number import NumberReading
from serving.images.preprocessing import Reading
from serving.images.steps import Step

# With more images, a response would be many times as large as the request.
MAX_IMAGES_WITH_STEPS = 16


@dataclass(frozen=True)
class NumberExplanation:
    """The fields that `?input=1` adds to a number of a single digit, and to one of several."""

    single: dict[str, Any]
    several: dict[str, Any]

    def fields(self, digits: int) -> dict[str, Any]:
        """Return the fields for a number of this many digits."""
        return self.single if digits == 1 else self.several


NOT_EXPLAINED = NumberExplanation({}, {})


def explain(reading: Reading, count: int) -> dict[str, Any]:
    """Return the fields that `?input=1` adds to the prediction for one of `count` images."""
    fields = {"input": reading.input, "box": reading.box._asdict()}
    return fields if count > MAX_IMAGES_WITH_STEPS else fields | _steps(steps.draw(reading))


def explain_number(reading: NumberReading, count: int) -> NumberExplanation:
    """Return the steps of one of `count` images, of which the model has yet to decide how many digits it shows."""
    if count > MAX_IMAGES_WITH_STEPS:
        return NOT_EXPLAINED
    several = _steps(steps.draw_handwriting(reading.grey, reading.handwriting))
    return NumberExplanation(_steps(steps.draw(reading.whole)), several)


def _steps(drawn: Iterable[Step]) -> dict[str, Any]:
    return {"steps": [{"name": step.name, "description": step.description, "image": step.data_url} for step in drawn]}
