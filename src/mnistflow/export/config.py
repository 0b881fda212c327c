"""Parameters of the stage export."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from mnistflow.schema import Section


class ExportConfig(Section):
    """Section `export`: the ONNX file, and how closely it must agree with the trained model."""

    opset: Annotated[int, Field(ge=14, le=18)]
    views: Literal[1, 5, 9]
    max_probability_gap: PositiveFloat
    tie: Annotated[float, Field(ge=0)]
