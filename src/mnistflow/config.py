"""params.yaml as a typed, frozen model, and overrides of it for one run."""

import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from mnistflow import scheduler
from mnistflow.acceleration import Precision
from mnistflow.backend import Backend
from mnistflow.errors import ConfigError
from mnistflow.models import ModelConfig, families
from mnistflow.models.family import Section, Sizes

Seed = Annotated[int, Field(ge=0, lt=2**31)]
DatasetName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Fraction = Annotated[float, Field(gt=0, lt=1)]
ALIKE = 3  # keys that are offered for one that is not there
BY_NAME = ("presets.", "tune.space.")  # keys below these hold dots, so none of them can be set alone


class _Yaml(yaml.SafeLoader):
    """YAML in which `1e-5` is a number, as in YAML 1.2 and in DVC; PyYAML's own rules make it a text."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


class FetchConfig(Section):
    """Which data set, and where its files come from."""

    dataset: DatasetName
    own: dict[DatasetName, str]
    fingerprint: str | None
    mirrors: Annotated[tuple[str, ...], Field(strict=False)]
    fallback: str | None
    attempts: PositiveInt
    backoff_seconds: Annotated[float, Field(ge=0)]
    timeout_seconds: PositiveFloat


class PrepareConfig(Section):
    """How the data is split."""

    validation_fraction: Fraction
    seed: Seed
    train_limit: PositiveInt | None
    feedback: str | None
    feedback_until: float | None


class FloatRange(Section):
    """A hyperparameter between two numbers, drawn from a logarithmic scale on demand."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high or (self.log and self.low <= 0):
            raise ValueError("needs low <= high, and low > 0 with log")
        return self

    def holds(self, value: Any) -> bool:
        return bool(self.low <= value <= self.high)


class Choices(Section):
    """A hyperparameter out of a list."""

    choices: Annotated[tuple[Any, ...], Field(strict=False, min_length=1)]

    def holds(self, value: Any) -> bool:
        return value in self.choices


Space = Mapping[str, FloatRange | Choices]


class TuneConfig(Section):
    """The search for hyperparameters."""

    trials: Annotated[int, Field(ge=0)]
    workers: PositiveInt
    seed: Seed
    epochs: PositiveInt
    train_limit: PositiveInt | None
    pruner: Literal["median", "hyperband", "halving", "none"]
    storage: str | None
    scheduler: scheduler.Address | None
    space: dict[str, dict[str, FloatRange | Choices]]

    @model_validator(mode="after")
    def _families_are_known(self) -> Self:
        for family in self.space:
            if family not in families():
                raise ValueError(f"space.{family}: unknown family; known: {', '.join(families())}")
        return self


class AugmentConfig(Section):
    """Random changes of training images: the largest of each, drawn evenly between its negative and itself.

    Attributes:
        shift: share of the side.
        rotation: degrees.
        scale: share of the size.
        shear: shift of a row by its distance from the middle row.
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
        """Whether anything is changed at all."""
        return any(self.model_dump().values())

    def weakened(self, strength: float) -> Self:
        """Return changes `strength` times as large; mirrored is mirrored."""
        sizes = self.model_dump(exclude={"flip"})
        return self.model_copy(update={name: strength * size for name, size in sizes.items()})


class TrainConfig(Section):
    """How a model is fitted.

    Attributes:
        augment_fade: share of the epochs, the last ones, through which the changes of images shrink to none.
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
    def _pytorch_goes_step_by_step(self) -> Self:
        if self.backend == "torch" and self.steps_per_execution > 1:
            raise ValueError("steps_per_execution: has to be 1 with backend torch")
        return self


class ExportConfig(Section):
    """The ONNX file and how closely it must agree with the trained model."""

    opset: Annotated[int, Field(ge=14, le=18)]
    views: Literal[1, 5, 9]
    max_probability_gap: PositiveFloat
    tie: Annotated[float, Field(ge=0)]


class EvaluateConfig(Section):
    """What is measured on the test split."""

    batch_sizes: Sizes
    repeats: PositiveInt
    calibration_bins: PositiveInt
    mistakes: PositiveInt
    robustness_images: Annotated[int, Field(ge=0)]


class GateConfig(Section):
    """What a candidate must reach to become the champion.

    For the headline metric of each task there is a `min_<name>`, or a `max_<name>` where smaller is better.
    """

    min_accuracy: Annotated[float, Field(ge=0, le=1)]
    max_mse: PositiveFloat
    min_class_recall: Annotated[float, Field(ge=0, le=1)]
    max_recall_drop: Annotated[float, Field(ge=0, le=1)]
    significance: Fraction
    max_file_megabytes: PositiveFloat


class Config(Section):
    """All of params.yaml."""

    fetch: FetchConfig
    prepare: PrepareConfig
    model: ModelConfig
    tune: TuneConfig
    train: TrainConfig
    export: ExportConfig
    evaluate: EvaluateConfig
    gate: GateConfig
    presets: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _space_names_known_keys(self) -> Self:
        known = self.entries()
        for family, space in self.tune.space.items():
            for key in space:
                if not key.startswith((f"model.{family}.", "train.")) or key not in known:
                    raise ValueError(
                        f"tune.space.{family}.{key}: is no key of model.{family} or train, so it cannot be searched"
                    )
        return self

    def preset(self, name: str) -> Mapping[str, Any]:
        """Return a named set of overrides.

        Raises:
            ConfigError: there is none of that name.
        """
        if name not in self.presets:
            known = ", ".join(self.presets) or "none"
            raise ConfigError(f"unknown preset {name!r}", f"Known: {known}; they stand in params.yaml.")
        return self.presets[name]

    def entries(self) -> dict[str, Any]:
        """Return everything by its dotted key, sections too."""
        return dict(_entries(self.model_dump(mode="json")))

    def with_values(self, values: Mapping[str, Any]) -> "Config":
        """Return a copy in which dotted keys (`train.epochs`) have new values.

        Raises:
            ConfigError: a key does not exist, or a value is not valid.
        """
        tree = self.model_dump(mode="json")
        for key, value in values.items():
            _set(tree, key, value)
        return _validated(tree, "the overridden parameters")


def load(path: Path) -> Config:
    """Read and check a params.yaml, its presets included.

    Raises:
        ConfigError: no such file, no YAML, or keys or values that are not valid; names each key and the reason.
    """
    config = _validated(_read(path), str(path))
    for name, values in config.presets.items():
        try:
            config.with_values(values)
        except ConfigError as error:
            raise ConfigError(f"{path}: presets.{name}: {error.problem}", error.mend) from error
    return config


def parse_overrides(assignments: Iterable[str]) -> dict[str, Any]:
    """Turn `["train.epochs=5", "model.family=mlp"]` into a mapping; values are read as YAML.

    Raises:
        ConfigError: an assignment has no `=` or no valid value.
    """
    values = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"override {assignment!r} has no key=value form", "Write for example -S train.epochs=5.")
        try:
            values[key.strip()] = yaml.load(text, _Yaml)  # noqa: S506
        except yaml.YAMLError as error:
            raise ConfigError(f"override {assignment!r}: the value is no YAML", "Quote it.") from error
    return values


def write_with_overrides(source: Path, target: Path, values: Mapping[str, Any]) -> Config:
    """Write `source` with dotted keys replaced to `target`, checked; without overrides the bytes are the same.

    Raises:
        ConfigError: as `load`; nothing is written then.
    """
    tree = _read(source)
    _validated(tree, str(source))
    for key, value in values.items():
        _set(tree, key, value)
    config = _validated(tree, "the overridden parameters")
    target.write_text(yaml.safe_dump(tree, sort_keys=False) if values else source.read_text(encoding="utf-8"))
    return config


def _read(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Yaml)  # noqa: S506
    except FileNotFoundError as error:
        raise ConfigError(f"{path} is missing", "Change into the checkout, or restore it with git.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no valid YAML: {error}", "Mend that line.") from error


def _validated(tree: Any, origin: str) -> Config:
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        problems = "; ".join(_problem(entry) for entry in error.errors())
        raise ConfigError(f"{origin}: {problems}", "Mend these keys; params.yaml in git shows valid ones.") from error


def _problem(entry: Any) -> str:
    path = ".".join(str(part) for part in entry["loc"] if part not in ("FloatRange", "Choices"))
    message = entry["msg"].removeprefix("Value error, ")
    if entry["type"] == "extra_forbidden":
        return f"{path}: unknown key"
    if entry["type"] == "missing":
        return f"{path}: is missing"
    given = "" if isinstance(entry["input"], dict) else f" (got {entry['input']!r})"
    return f"{path}: {message}{given}" if path else f"{message}{given}"


def _set(tree: Any, key: str, value: Any) -> None:
    *parents, last = key.split(".")
    section = tree
    for parent in parents:
        section = section.get(parent) if isinstance(section, dict) else None
    if not isinstance(section, dict) or last not in section:
        alike = _alike(key, tree)
        mend = f"Did you mean {alike}?" if alike else "Use a key that stands there."
        raise ConfigError(f"override {key}: no such key in params.yaml", mend)
    section[last] = deepcopy(value)  # presets may share it


def _alike(key: str, tree: Mapping[str, Any]) -> str:
    """Return a few keys whose last part is this one, else the one that is written most like it, else nothing."""
    known = [other for other, _ in _entries(tree)]
    namesakes = [other for other in known if other.endswith(f".{key}") and not other.startswith(BY_NAME)]
    return " or ".join(namesakes[:ALIKE] or get_close_matches(key, known, n=1))


def _entries(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of everything in the tree."""
    for name, value in tree.items():
        yield f"{prefix}{name}", value
        if isinstance(value, dict):
            yield from _entries(value, f"{prefix}{name}.")
