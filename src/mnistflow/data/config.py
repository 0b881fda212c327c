"""Parameters of the stages fetch and prepare."""

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from mnistflow.schema import Fraction, Section, Seed

DatasetName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class FetchConfig(Section):
    """Section `fetch`: which data set, and where its files come from."""

    dataset: DatasetName
    own: dict[DatasetName, str]
    fingerprint: str | None
    mirrors: Annotated[tuple[str, ...], Field(strict=False)]
    fallback: str | None
    attempts: PositiveInt
    backoff_seconds: Annotated[float, Field(ge=0)]
    timeout_seconds: PositiveFloat


class PrepareConfig(Section):
    """Section `prepare`: how the data is split."""

    validation_fraction: Fraction
    seed: Seed
    train_limit: PositiveInt | None
    feedback: str | None
    feedback_until: float | None
