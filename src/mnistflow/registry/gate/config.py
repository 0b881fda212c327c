"""Parameters of the gate."""

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat

from mnistflow.schema import Fraction, Section


class GateConfig(Section):
    """Section `gate`: what a candidate must reach to become the champion.

    `margin` is in the unit of the headline metric, and matters only with a golden set.

    The headline metric of each task has a `min_<name>`, or a `max_<name>` where smaller is better. Limits of robustness
    concern only evaluations under corruptions; see `evaluation.robustness`.
    """

    min_accuracy: Annotated[float, Field(ge=0, le=1)]
    max_mse: PositiveFloat
    max_frechet_distance: PositiveFloat
    min_class_recall: Annotated[float, Field(ge=0, le=1)]
    max_recall_drop: Annotated[float, Field(ge=0, le=1)]
    min_robustness: Annotated[float, Field(ge=0, le=1)] | None
    margin: NonNegativeFloat
    max_robustness_drop: Annotated[float, Field(ge=0, le=1)] | None
    significance: Fraction
    max_file_megabytes: PositiveFloat
