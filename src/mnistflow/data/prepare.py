"""Stage prepare: checks the raw data, splits it, and writes the data report."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from mnistflow import files, splits, tasks
from mnistflow.data import catalog, raw, report
from mnistflow.data.checks import check
from mnistflow.data.config import PrepareConfig
from mnistflow.data.entry import Entry
from mnistflow.data.feedback import golden, reports, selection
from mnistflow.data.feedback.reports import Report
from mnistflow.data.feedback.selection import Selection
from mnistflow.errors import ConfigError, DataError
from mnistflow.paths import Paths
from mnistflow.splits import Dataset, Split, SplitName

MAX_HELD_OUT_SHARE = 0.25  # of small data that is held out to have `prepare.min_validation` examples of each class


@dataclass(frozen=True)
class Prepared:
    """Result of stage prepare.

    Attributes:
        dataset: name of the data set.
        train: number of training examples, including feedback.
        validation: number of validation examples, including feedback.
        test: number of test examples.
        feedback: number of training and validation examples from users' feedback.
        held: number of reports of users that are held back until a review.
        golden: number of examples of the golden set.
        data_sha256: hash over all splits.
    """

    dataset: str
    train: int
    validation: int
    test: int
    feedback: int
    held: int
    golden: int
    data_sha256: str


@dataclass(frozen=True, eq=False)
class FeedbackReports:
    """Feedback on a data set.

    Attributes:
        log: path or URL of the inference log.
        entry: the data set.
        reports: all of them.
    """

    log: str
    entry: Entry
    reports: Sequence[Report]


def prepare(paths: Paths, config: PrepareConfig) -> Prepared:
    """Check and split the workspace's raw data; write the splits and the data report.

    Raises:
        DataError: the raw data does not match its entry or is too small to split, or a folder cannot be written.
        ConfigError: the configured sizes do not fit the data.
    """
    fetched = raw.load(paths.raw)
    entry = catalog.described(fetched.name, fetched.classes)
    official, frozen = _official_and_golden(paths, config, entry)
    chosen = _selected(paths, config, entry, official, frozen)
    dataset = build(entry, config, official, chosen.examples(entry) if chosen.used else None, frozen)
    with files.atomic_write(paths.prepared) as temporary:
        temporary.mkdir()
        splits.save(dataset, temporary)
    report.write(dataset, paths.reports / "prepare")
    return Prepared(
        dataset=dataset.name,
        train=len(dataset.train),
        validation=len(dataset.validation),
        test=len(dataset.test),
        feedback=dataset.feedback + dataset.feedback_validation,
        held=len(chosen.held),
        golden=len(frozen) if frozen else 0,
        data_sha256=dataset.data_sha256,
    )


def pin(config: PrepareConfig, paths: Paths, dataset: str) -> dict[str, float | str]:
    """Return overrides, by dotted key, that fix the feedback and the golden set of a run before it starts.

    Args:
        config: section `prepare` of params.yaml.
        paths: of the checkout.
        dataset: the data set of the run.

    Raises:
        DataError: the configured file or database cannot be read as an inference log, or a golden set is damaged.
    """
    location = _log_location(paths, config)
    newest = reports.newest(location) if location else None
    frozen = golden.current(paths, dataset)
    return {
        **({"prepare.feedback_until": newest} if newest is not None else {}),
        **({"prepare.golden": frozen.sha256} if frozen and config.golden is None else {}),
    }


def read_reports(paths: Paths, config: PrepareConfig) -> FeedbackReports:
    """Return all feedback on the data set that was fetched last.

    Args:
        paths: of the checkout.
        config: section `prepare` of params.yaml.

    Raises:
        ConfigError: `prepare.feedback` is null.
        DataError: the data set was not fetched, or the log cannot be read.
    """
    location = _log_location(paths, config)
    if location is None:
        raise ConfigError("prepare.feedback is null", "Set it to the inference log of a server.")
    fetched = raw.load(paths.raw)
    entry = catalog.described(fetched.name, fetched.classes)
    return FeedbackReports(location, entry, reports.read(location, None, entry))


def preview_selection(paths: Paths, config: PrepareConfig, feedback: FeedbackReports) -> Selection:
    """Return which feedback would become training examples, and why the other would not.

    Args:
        paths: of the checkout.
        config: section `prepare` of params.yaml.
        feedback: all of it.

    Raises:
        DataError: the raw files cannot be read, or the golden set is missing or damaged.
    """
    official, frozen = _official_and_golden(paths, config, feedback.entry)
    return selection.select(feedback.reports, feedback.entry, official, config, frozen)


def exclusion_reasons(paths: Paths, config: PrepareConfig, feedback: FeedbackReports) -> dict[str, str]:
    """Return key of a report -> why it never becomes a training example.

    Args:
        paths: of the checkout.
        config: section `prepare` of params.yaml.
        feedback: all of it.

    Raises:
        DataError: the raw files cannot be read, or the golden set is missing or damaged.
    """
    official, frozen = _official_and_golden(paths, config, feedback.entry)
    out = selection.excluded(feedback.reports, feedback.entry, official, frozen)
    return {key: why for key, (_, why) in out.items()}


def _official_and_golden(
    paths: Paths, config: PrepareConfig, entry: Entry
) -> tuple[splits.OfficialSplits, Split | None]:
    return entry.read(paths.raw), golden.load(paths, entry, config.golden)


def _selected(
    paths: Paths, config: PrepareConfig, entry: Entry, official: splits.OfficialSplits, frozen: Split | None
) -> Selection:
    location = _log_location(paths, config)
    if location is None:
        return Selection(())
    return selection.select(reports.read(location, config.feedback_until, entry), entry, official, config, frozen)


def _log_location(paths: Paths, config: PrepareConfig) -> str | None:
    """Return the path or URL of the inference log with feedback; None if feedback is not used."""
    if config.feedback is None or "://" in config.feedback:
        return config.feedback
    return str((paths.checkout / Path(config.feedback).expanduser()).resolve())


def build(
    entry: Entry,
    config: PrepareConfig,
    official: splits.OfficialSplits,
    feedback_examples: Split | None = None,
    golden_set: Split | None = None,
) -> Dataset:
    """Return the prepared data set. The official test split is unchanged.

    Validation examples are drawn from the official training split at random, stratified by class. Those of a time
    series are the latest. The same share of the feedback becomes validation examples, evenly spread over time.

    Args:
        entry: the data set.
        config: section `prepare` of params.yaml.
        official: the official splits.
        feedback_examples: examples besides the official ones, the oldest first.
        golden_set: examples that become a split of their own, and whose images leave the official training split.

    Raises:
        DataError: the data does not match its entry, or a class is too small to be in each split.
        ConfigError: the training limit is smaller than the number of classes.
    """
    check(official.train, entry, "train")
    check(official.test, entry, "test")
    known = official.train if golden_set is None else _without(official.train, golden_set)
    if tasks.get(entry.task).chronological:
        train, validation = split_off_latest(known, config.validation_fraction)
        if config.train_limit:
            train = train.take(np.arange(len(train))[-config.train_limit :])
    else:
        fraction = validation_fraction(config, len(known), len(entry.classes))
        train, validation = split_off(known, fraction, config.seed)
        train, validation = _with_enough_of_each_class(train, validation, config.min_validation)
        train = stratified_subset(train, config.train_limit, config.seed)
    reported = feedback_examples or known.take(np.arange(0))
    learned, held_out = split_off_evenly(reported, config.validation_fraction)
    train, validation = _concatenated(train, learned), _concatenated(validation, held_out)
    parts: dict[SplitName, Split] = {"train": train, "validation": validation, "test": official.test}
    for name, part in parts.items():
        _require_every_class(part, entry, name)
    if golden_set is not None:
        parts["golden"] = golden_set
    hashes = {name: part.sha256() for name, part in parts.items()}
    identity = sha256("".join(f"{digest}  {name}\n" for name, digest in hashes.items()).encode())
    return Dataset(
        name=entry.name,
        task=entry.task,
        classes=entry.classes,
        input_shape=entry.input_shape,
        train=train,
        validation=validation,
        test=official.test,
        golden=golden_set,
        sha256=hashes,
        data_sha256=identity.hexdigest(),
        feedback=len(learned),
        feedback_validation=len(held_out),
    )


def validation_fraction(config: PrepareConfig, examples: int, classes: int) -> float:
    """Return the share of the official training split that is held out: the configured one, or more on small data.

    Args:
        config: section `prepare` of params.yaml.
        examples: number of examples of the official training split.
        classes: number of classes.
    """
    enough = config.min_validation * classes / examples
    return max(config.validation_fraction, min(enough, MAX_HELD_OUT_SHARE))


def _with_enough_of_each_class(train: Split, validation: Split, enough: int) -> tuple[Split, Split]:
    """Move examples of small classes to the validation split, which has too few of them if its share fits the mean."""
    classes, counts = np.unique(np.concatenate([train.targets, validation.targets]), return_counts=True)
    moved = [
        np.flatnonzero(train.targets == label)[: max(0, wanted - int((validation.targets == label).sum()))]
        for label, count in zip(classes, counts, strict=True)
        if (wanted := min(enough, int(MAX_HELD_OUT_SHARE * count)))
    ]
    indices = np.concatenate([*moved, np.empty(0, np.int64)])
    rest = train.take(np.setdiff1d(np.arange(len(train)), indices))
    return rest, _concatenated(validation, train.take(indices))


def _without(split: Split, golden_set: Split) -> Split:
    return split.take(np.flatnonzero(~golden.among(split.inputs, golden_set.inputs)))


def _concatenated(first: Split, second: Split) -> Split:
    return Split(
        np.concatenate([first.inputs, second.inputs]),
        np.concatenate([first.targets, second.targets]),
    )


def split_off(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """Split at random, stratified by class; return the rest and the fraction, both shuffled.

    Raises:
        DataError: a class, or the whole split, has too few examples.
    """
    from sklearn.model_selection import train_test_split

    try:
        rest, fraction_indices = train_test_split(
            np.arange(len(split)), test_size=fraction, stratify=split.targets, random_state=seed
        )
    except ValueError as error:
        raise DataError(
            f"cannot take a stratified {fraction:g} of {len(split)} examples for validation: {error}",
            "Add examples, or change prepare.validation_fraction.",
        ) from error
    return split.take(rest), split.take(fraction_indices)


def split_off_latest(split: Split, fraction: float) -> tuple[Split, Split]:
    """Split a time series; return the earlier part and the last fraction, because forecasts are of later values.

    Raises:
        DataError: there are too few examples.
    """
    count = round(fraction * len(split))
    if not 0 < count < len(split):
        raise DataError(
            f"cannot take the last {fraction:g} of {len(split)} examples for validation",
            "Add examples, or change prepare.validation_fraction.",
        )
    order = np.arange(len(split))
    return split.take(order[:-count]), split.take(order[-count:])


def split_off_evenly(split: Split, fraction: float) -> tuple[Split, Split]:
    """Return examples without every tenth picture, say, and those: a fraction of every stretch of time.

    Copies of a picture stay together, or a model would be validated on what it has learned.

    Args:
        split: examples in the order of time.
        fraction: of the pictures.
    """
    numbers: dict[bytes, int] = {}
    number = np.array([numbers.setdefault(image.tobytes(), len(numbers)) for image in split.inputs], np.int64)
    is_held_out = np.floor((number + 1) * fraction) > np.floor(number * fraction)
    return split.take(np.flatnonzero(~is_held_out)), split.take(np.flatnonzero(is_held_out))


def stratified_subset(split: Split, size: int | None, seed: int) -> Split:
    """Return a shuffled subset of at most `size` examples, stratified by class; None means all.

    Raises:
        ConfigError: `size` is smaller than the number of classes.
    """
    from sklearn.utils import resample

    if size is None or size >= len(split):
        return split
    classes = len(np.unique(split.targets))
    if size < classes:
        raise ConfigError(
            f"a training limit of {size} is smaller than the number of classes, {classes}",
            f"Set it to at least {classes}, or to null for all.",
        )
    chosen = resample(np.arange(len(split)), replace=False, n_samples=size, stratify=split.targets, random_state=seed)
    return split.take(chosen)


def _require_every_class(split: Split, entry: Entry, name: SplitName) -> None:
    missing = np.setdiff1d(np.arange(len(entry.classes)), split.targets)
    if len(missing):
        raise DataError(
            f"{entry.name}: class {entry.classes[missing[0]]!r} is too small: the {name} split has no example of it",
            "Add examples of it, or raise prepare.validation_fraction or prepare.train_limit.",
        )
