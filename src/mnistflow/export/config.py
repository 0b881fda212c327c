"""Export parameters: section `export` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from mnistflow.schema import Section


class ExportConfig(Section):
    """Section `export`: the ONNX file and its parity with the trained model.

    Attributes:
        opset: version of ONNX's default operator set.
        views: number of shifted copies that test-time augmentation averages over; 1 disables it.
        precision: of convolutions and matrix products.
        quantize_ends: whether int8 includes the first and the last layer.
        max_disagreement: share of the predictions on the test split that int8 may change; their number is rounded up.
        max_probability_gap: largest difference of an output value allowed on the test split.
        tie: difference of the two largest probabilities up to which different predictions are allowed.
        coverage: of prediction sets, among examples that the model is not sure about.
        false_refusals: share of the examples of a class that are answered as uncertain.
    """

    opset: Annotated[int, Field(ge=14, le=18)]
    views: Literal[1, 5, 9]
    precision: Literal["float32", "int8"]
    quantize_ends: bool
    max_disagreement: Annotated[float, Field(ge=0, le=1)]
    max_probability_gap: PositiveFloat
    tie: Annotated[float, Field(ge=0)]
    coverage: Annotated[float, Field(gt=0, lt=1)]
    false_refusals: Annotated[float, Field(gt=0, lt=1)]
