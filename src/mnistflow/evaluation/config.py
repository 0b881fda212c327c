"""Parameters of the stage evaluate."""

from typing import Annotated

from pydantic import Field, PositiveInt

from mnistflow.schema import Section, Sizes


class EvaluateConfig(Section):
    """Section `evaluate`: what is measured on the test split."""

    batch_sizes: Sizes
    repeats: PositiveInt
    calibration_bins: PositiveInt
    mistakes: PositiveInt
    robustness_images: Annotated[int, Field(ge=0)]
