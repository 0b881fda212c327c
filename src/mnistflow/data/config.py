"""Data parameters: sections `fetch` and `prepare` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from mnistflow.schema import Fraction, Section, Seed

DatasetName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class FetchConfig(Section):
    """Section `fetch`: the data set and the sources of its files.

    Attributes:
        dataset: name of the data set.
        own: name -> path of a user's own images or time series, relative to the checkout.
        fingerprint: hash of the user's own data, set for each run.
        mirrors: tried in this order; see `sources.mirrors`.
        fallback: data set used if no mirror is available; None makes that an error.
        attempts: per file and mirror.
        backoff_seconds: delay before the second attempt, doubled for each further one.
        timeout_seconds: longest time without receiving data.
    """

    dataset: DatasetName
    own: dict[DatasetName, str]
    fingerprint: str | None
    mirrors: Annotated[tuple[str, ...], Field(strict=False)]
    fallback: str | None
    attempts: PositiveInt
    backoff_seconds: Annotated[float, Field(ge=0)]
    timeout_seconds: PositiveFloat


class PrepareConfig(Section):
    """Section `prepare`: splits and feedback. What is done with feedback, `data.feedback.selection` explains.

    Attributes:
        validation_fraction: share of the official training split.
        min_validation: least number of validation examples of each class, up to a quarter of its training examples.
        seed: of the random splits.
        train_limit: largest number of training examples; None means all.
        feedback: inference log with feedback: path of an SQLite file or URL of a PostgreSQL database; None means none.
        feedback_until: time of the newest feedback and review used, in seconds since 1970, set for each run.
        golden: hash of the golden set, set for each run; None means the current one, if there is one.
        feedback_use: which feedback becomes training examples: all, unsuspicious or accepted by a review, or only the
            latter.
        feedback_per_source: most reports of a source (the holder of a key) without a review; None means no limit.
        feedback_trust: least share of a source's reports that raise no doubt; below it, all of them are held back.
    """

    validation_fraction: Fraction
    min_validation: PositiveInt
    seed: Seed
    train_limit: PositiveInt | None
    feedback: str | None
    feedback_until: float | None
    golden: str | None
    feedback_use: Literal["all", "unsuspicious", "reviewed"]
    feedback_per_source: PositiveInt | None
    feedback_trust: Annotated[float, Field(ge=0, le=1)]
