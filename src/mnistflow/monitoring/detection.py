"""Detection: evidence that accumulates over looks, and alarms that are valid at any time.

Each look yields e-values: non-negative numbers whose expectation is at most 1 while nothing has changed. A detector
accumulates them in the way of Shiryaev and Roberts (e-detectors, Shin, Ramdas and Rinaldo, arXiv:2203.03532), with the
time between looks as weight. docs/explanation/monitoring.md derives the bound on false alarms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mnistflow.arrays import Array

MIN_P_VALUE = 1e-300
MAX_E_VALUE = 1e100  # evidence stays finite
NEAR_ONE = 1e-5  # closer to 1, the calibrator's formula loses all digits

EValues = NDArray[np.float64]


@dataclass(frozen=True)
class Detector:
    """Evidence of a change, one component for each alternative that is looked for.

    Attributes:
        components: in years: the length of an unchanged past that has this much evidence by chance.
    """

    components: tuple[float, ...]

    @classmethod
    def initial(cls, components: int) -> Self:
        """Return a detector before its first look."""
        return cls((0.0,) * components)

    @property
    def evidence(self) -> float:
        """The mean of the components."""
        return sum(self.components) / len(self.components)

    def after(self, e_values: EValues, years: float) -> Detector:
        """Return the detector after a look.

        Args:
            e_values: of the look, one a component.
            years: since the last look; known before the look.
        """
        grown = (np.array(self.components) + years) * np.minimum(e_values, MAX_E_VALUE)
        return Detector(tuple(float(value) for value in np.minimum(grown, MAX_E_VALUE)))

    def restarted(self) -> Detector:
        """Return a detector without any evidence, as it is after an alarm."""
        return Detector.initial(len(self.components))


def e_values_of(p_values: Array) -> EValues:
    """Return an e-value of each p-value: the mixture of all power calibrators (Vovk and Wang, Ann. Statist. 2021)."""
    clipped = np.clip(np.asarray(p_values, float), MIN_P_VALUE, 1 - NEAR_ONE)
    logarithm = np.log(clipped)
    return np.asarray((1 - clipped + clipped * logarithm) / (clipped * logarithm**2))


def e_values_of_lower_mean(values: Array, mean: float, alternatives: Sequence[float]) -> EValues:
    """Return the e-values of bets against a mean of at least `mean`, one for each lower mean to bet on.

    A bet multiplies its stake at each value by a factor that is linear in it (Waudby-Smith and Ramdas, JRSSB 2024,
    arXiv:2010.09686). For values of 0 and 1 that is the likelihood ratio.

    Args:
        values: `[n]`, 0 to 1.
        mean: above 0 and below 1.
        alternatives: below `mean`, above 0.
    """
    lower = np.asarray(alternatives, float)
    stakes = (mean - lower) / (mean * (1 - mean))
    growth = np.log1p(stakes[:, None] * (mean - np.asarray(values, float)[None, :])).sum(axis=1)
    return np.asarray(np.exp(np.minimum(growth, np.log(MAX_E_VALUE))))
