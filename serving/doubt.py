"""Doubt of a classifier: the classes that an answer may be, and whether it is uncertain.

The thresholds are part of the version; `schemas/model.schema.json` says what they promise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.protocol.tensors import Array

# An uncertain image with at most so many possible classes is read as one of them; with more, it looks like none.
MAX_ALTERNATIVES = 3


@dataclass(frozen=True, slots=True)
class Doubt:
    """Thresholds of a version, in probabilities.

    Attributes:
        coverage: share of the doubtful images whose class is in the prediction set.
        set_threshold: the prediction set is the most probable class, and all that are at least as probable as this.
        refusal_threshold: an answer is uncertain if no class is at least as probable as this.
    """

    coverage: float
    set_threshold: float
    refusal_threshold: float

    def describe(self, probabilities: Array, classes: Sequence[str]) -> dict[str, Any]:
        """Return the fields of an answer: `prediction_set`, most probable class first, `uncertain`, and a `reason`.

        Args:
            probabilities: of one image, `[classes]`.
            classes: their names.
        """
        order = np.argsort(-probabilities, kind="stable")
        names = [classes[index] for index in order if probabilities[index] >= self.set_threshold] or [classes[order[0]]]
        if probabilities[order[0]] >= self.refusal_threshold:
            return {"prediction_set": names, "uncertain": False}
        return {"prediction_set": names, "uncertain": True, "reason": _reason(names)}


def _reason(names: Sequence[str]) -> str:
    if len(names) > MAX_ALTERNATIVES:
        return "this looks like none of the classes"
    if len(names) == 1:
        return f"this looks only roughly like {names[0]}"
    return f"this could be {', '.join(names[:-1])} or {names[-1]}"
