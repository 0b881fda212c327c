"""Parameters of a training: sections `model` and `train` of params.yaml."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from mnistflow.learners.acceleration import Precision
from mnistflow.models import ModelConfig
from mnistflow.runtime.backend import Backend
from mnistflow.schema import Section, Seed


class AugmentConfig(Section):
    """Random changes of training images: the largest of each, drawn evenly between its negative and itself.

    Attributes:
        shift: share of the side.
        rotation: degrees.
        scale: share of the size.
        shear: shift of a row, in rows, by its distance from the middle row.
        elastic: standard deviation of a smooth displacement field, as a share of the side.
        flip: mirror every second image, left to right.
        cutout: side of a black rectangle, as a share of the image's.
    """

    shift: Annotated[float, Field(ge=0, lt=1)] = 0.0
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    shear: Annotated[float, Field(ge=0)] = 0.0
    elastic: Annotated[float, Field(ge=0, lt=1)] = 0.0
    flip: bool = False
    cutout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @property
    def active(self) -> bool:
        """Whether any change is made at all."""
        return any(self.model_dump().values())

    def scaled(self, strength: float) -> Self:
        """Return changes `strength` times as large; `flip` stays as it is."""
        sizes = self.model_dump(exclude={"flip"})
        return self.model_copy(update={name: strength * size for name, size in sizes.items()})


class TrainConfig(Section):
    """Section `train`: how a model is fitted.

    Attributes:
        augment_fade: share of the epochs, the last ones, over which augmentation shrinks linearly to none.
    """

    backend: Backend
    seed: Seed
    epochs: PositiveInt
    batch_size: PositiveInt
    optimizer: Literal["sgd", "momentum", "rmsprop", "adam", "adamw"]
    learning_rate: PositiveFloat
    weight_decay: Annotated[float, Field(ge=0)]
    schedule: Literal["constant", "cosine", "one_cycle"]
    from_logits: bool
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    ema: Annotated[float, Field(ge=0, lt=1)]
    augment: AugmentConfig
    augment_fade: Annotated[float, Field(ge=0, le=1)]
    statistics: Annotated[int, Field(ge=0)]
    patience: PositiveInt
    min_delta: Annotated[float, Field(ge=0)]
    threads: Annotated[int, Field(ge=0)]
    precision: Precision
    steps_per_execution: PositiveInt

    @model_validator(mode="after")
    def _pytorch_runs_single_steps(self) -> Self:
        if self.backend == "torch" and self.steps_per_execution > 1:
            raise ValueError("steps_per_execution: has to be 1 with backend torch")
        return self


class LearningConfig(Section):
    """Everything that shapes a model besides the data: the family with its parameters, and how it is fitted."""

    model: ModelConfig
    train: TrainConfig

    def flattened(self) -> dict[str, object]:
        """Return the parameters by the same names for every family: `model.family`, `model.dropout`, `train.epochs`."""
        return {
            "model.family": self.model.family,
            **{f"model.{name}": value for name, value in self.model.chosen.model_dump(mode="json").items()},
            **{f"train.{name}": value for name, value in self.train.model_dump(mode="json").items()},
        }
