"""Training parameters: sections `model` and `train` of params.yaml."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from mnistflow.models import ModelConfig
from mnistflow.models.networks.network import Network
from mnistflow.runtime.backend import Backend
from mnistflow.schema import Section, Seed

Precision = Literal["float32", "bfloat16", "auto"]

# Of augmentation: strengths that grow on small data and fade at the end of a training.
GEOMETRIC = {"shift", "rotation", "scale", "shear", "elastic", "cutout"}
# Examples that batch statistics of a short training are computed from: enough to compare losses.
SHORT_STATISTICS = 1_000


class AugmentConfig(Section):
    """Data augmentation of training images. Shift, rotation, scale and shear are uniform in `[-value, value]`.

    Attributes:
        shift: largest translation, as a share of the image's side.
        rotation: largest angle, in degrees.
        scale: largest change of size, as a share of the size.
        shear: largest horizontal shift per row of distance from the centre, in pixels.
        elastic: standard deviation of a smooth displacement field, as a share of the image's side.
        flip: mirror images horizontally with probability 1/2.
        cutout: side of a rectangle set to 0, as a share of the image's side.
        photometric: share of the images that the following change.
        stroke: largest change of the stroke width, as a share of a pixel on each side, up to 1.
        lines: largest number of straight lines across an image.
        blur: largest share of a blurred copy, whose standard deviation is 1.22 pixels.
        contrast: largest loss of contrast, as a share.
        background: largest brightness of the background, as a share of white.
        noise: largest standard deviation of Gaussian noise, as a share of white.
        outliers: share of the images that are replaced by pictures of no class; see `outliers`.
    """

    shift: Annotated[float, Field(ge=0, lt=1)] = 0.0
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    shear: Annotated[float, Field(ge=0)] = 0.0
    elastic: Annotated[float, Field(ge=0, lt=1)] = 0.0
    flip: bool = False
    cutout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    photometric: Annotated[float, Field(ge=0, le=1)] = 0.0
    stroke: Annotated[float, Field(ge=0, le=1)] = 0.0
    lines: Annotated[int, Field(ge=0, le=8)] = 0
    blur: Annotated[float, Field(ge=0, le=1)] = 0.0
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.0
    background: Annotated[float, Field(ge=0, lt=1)] = 0.0
    noise: Annotated[float, Field(ge=0, lt=1)] = 0.0
    outliers: Annotated[float, Field(ge=0, le=0.5)] = 0.0

    @property
    def active(self) -> bool:
        """Whether any augmentation is enabled."""
        return self.is_geometric or self.photometric > 0 or self.outliers > 0

    @property
    def is_geometric(self) -> bool:
        """Whether images are transformed, or a part of them is cut out."""
        return any(getattr(self, name) for name in (*GEOMETRIC, "flip"))


Betas = Annotated[tuple[Annotated[float, Field(ge=0, lt=1)], ...], Field(strict=False, min_length=2, max_length=2)]


class DistillationConfig(Section):
    """Distillation of a registered model; see `distillation`.

    Attributes:
        teacher: number of a version, id of the run that registered it, or an alias; None disables distillation.
        sha256: of the teacher's ONNX file; None accepts any file.
        temperature: of the teacher's probabilities.
        weight: share of the targets that comes from the teacher instead of the labels.
    """

    teacher: PositiveInt | str | None = None
    sha256: str | None = None
    temperature: PositiveFloat = 1.0
    weight: Annotated[float, Field(ge=0, le=1)] = 0.7


class TrainConfig(Section):
    """Section `train`: optimizer, schedule, regularization, early stopping and hardware of a training.

    Attributes:
        backend: library that Keras computes with.
        seed: of initial weights, order of batches, augmentation and dropout.
        epochs: largest number of epochs.
        batch_size: examples per step; `auto` depends on the number of training examples, see `epoch`.
        min_steps: least number of steps in an epoch; 0 means one pass over the training examples.
        optimizer: `momentum` is SGD with Nesterov momentum 0.9.
        learning_rate: highest learning rate of the schedule.
        betas: of `adam` and `adamw`: decay of the moving averages of gradients and of their squares.
        weight_decay: of optimizer `adamw`.
        schedule: of the learning rate over all steps.
        from_logits: compute the loss from logits instead of probabilities.
        warm_start: version to continue from: number, id of the run that registered it, or alias; see `warm_start`.
        online: learn the feedback one example at a time, in the order of its time; see `online`.
        distillation: of a registered model, whose outputs become part of the targets.
        label_smoothing: share of the target distribution spread evenly over all classes.
        ema: momentum of the exponential moving average of the weights, per step; 0 disables averaging.
        augment_gain: factor of the augmentation on small data; see `epoch`.
        augment: data augmentation; applied to images only.
        augment_fade: share of the epochs, at the end, over which augmentation decreases linearly to none.
        statistics: number of training examples that batch statistics are recomputed from; 0 keeps Keras's averages.
        patience: number of epochs without improvement after which training stops.
        min_delta: smallest decrease of the validation loss that counts as improvement.
        threads: intra-op threads of TensorFlow and PyTorch; 0 means one per core.
        precision: of the forward and backward pass; weights are float32.
        steps_per_execution: steps per call of the compiled training function; `epoch` means all of an epoch with
            TensorFlow, which loops inside the graph, and one with the other backends.
    """

    backend: Backend
    seed: Seed
    epochs: PositiveInt
    batch_size: PositiveInt | Literal["auto"]
    min_steps: Annotated[int, Field(ge=0)]
    optimizer: Literal["sgd", "momentum", "rmsprop", "adam", "adamw"]
    learning_rate: PositiveFloat
    betas: Betas
    weight_decay: Annotated[float, Field(ge=0)]
    schedule: Literal["constant", "cosine", "one_cycle"]
    from_logits: bool
    warm_start: PositiveInt | str | None
    online: bool
    distillation: DistillationConfig
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    ema: Annotated[float, Field(ge=0, lt=1)]
    augment_gain: Annotated[float, Field(ge=1)]
    augment: AugmentConfig
    augment_fade: Annotated[float, Field(ge=0, le=1)]
    statistics: Annotated[int, Field(ge=0)]
    patience: PositiveInt
    min_delta: Annotated[float, Field(ge=0)]
    threads: Annotated[int, Field(ge=0)]
    precision: Precision
    steps_per_execution: PositiveInt | Literal["epoch"]

    @model_validator(mode="after")
    def _pytorch_runs_single_steps(self) -> Self:
        if self.backend == "torch" and self.steps_per_execution not in (1, "epoch"):
            raise ValueError("steps_per_execution: must be 1 with backend torch")
        return self

    def shortened(self, min_steps: int) -> Self:
        """Return the section for a training on a part of the data: fewer steps, and statistics of fewer examples."""
        return self.model_copy(update={"min_steps": min_steps, "statistics": min(self.statistics, SHORT_STATISTICS)})


class LearningConfig(Section):
    """Sections `model` and `train`: everything besides the data that a trained model depends on."""

    model: ModelConfig
    train: TrainConfig

    @model_validator(mode="after")
    def _takes_single_examples(self) -> Self:
        if self.train.online and not isinstance(self.model.chosen, Network):
            raise ValueError(
                f"train.online: family {self.model.family} cannot take one example at a time; neural networks can"
            )
        return self

    def flattened(self) -> dict[str, object]:
        """Return all parameters by dotted key: `model.family`, `model.dropout`, `train.epochs`.

        Keys of the chosen family's parameters do not contain its name, so that MLflow compares families by them.
        """
        return {
            "model.family": self.model.family,
            **{f"model.{name}": value for name, value in self.model.chosen.model_dump(mode="json").items()},
            **{f"train.{name}": value for name, value in self.train.model_dump(mode="json").items()},
        }
