"""Evaluation parameters: section `evaluate` of params.yaml."""

from typing import Annotated

from pydantic import Field, PositiveInt

from mnistflow.schema import Section, Sizes


class EvaluateConfig(Section):
    """Section `evaluate`: measurements on the test split.

    Attributes:
        batch_sizes: for latency and throughput.
        repeats: largest number of timed calls per batch size.
        mistakes: largest number of wrong predictions plotted.
        robustness_images: number of test images evaluated under corruptions; 0 disables this.
    """

    batch_sizes: Sizes
    repeats: PositiveInt
    mistakes: PositiveInt
    robustness_images: Annotated[int, Field(ge=0)]
