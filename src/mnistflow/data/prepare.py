"""The stage prepare: checks the raw data, splits it, and reports what is in it."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from mnistflow import files, splits, tasks
from mnistflow.data import catalog, feedback, raw, report
from mnistflow.data.checks import check
from mnistflow.data.config import PrepareConfig
from mnistflow.data.entry import Entry
from mnistflow.errors import ConfigError, DataError
from mnistflow.paths import Paths
from mnistflow.splits import Dataset, Split, SplitName


@dataclass(frozen=True)
class Prepared:
    """What the stage wrote.

    Attributes:
        dataset: its name.
        train, validation, test: numbers of examples.
        feedback: of the training examples, how many come from what users said.
        data_sha256: identity of the prepared data.
    """

    dataset: str
    train: int
    validation: int
    test: int
    feedback: int
    data_sha256: str


def prepare(paths: Paths, config: PrepareConfig) -> Prepared:
    """Check and split the workspace's raw data, write the splits, and report on them.

    Raises:
        DataError: the raw data is not what its entry says, or too small to split; or a folder cannot be written.
        ConfigError: the configured sizes do not fit the data.
    """
    fetched = raw.load(paths.raw)
    entry = catalog.described(fetched.name, fetched.classes)
    official = entry.read(paths.raw)
    said = _feedback(paths, config, entry, official.test)
    dataset = build(entry, config, official, said)
    with files.atomic_write(paths.prepared) as temporary:
        temporary.mkdir()
        splits.save(dataset, temporary)
        files.remove(paths.prepared)
    report.write(dataset, paths.reports / "prepare")
    return Prepared(
        dataset=dataset.name,
        train=len(dataset.train),
        validation=len(dataset.validation),
        test=len(dataset.test),
        feedback=len(said) if said else 0,
        data_sha256=dataset.data_sha256,
    )


def pin(config: PrepareConfig, paths: Paths) -> dict[str, float]:
    """Return the parameters, by dotted key, that make definite which feedback a run takes.

    Raises:
        DataError: the configured file or database is no inference log.
    """
    newest = feedback.newest(_log(paths, config.feedback)) if config.feedback else None
    return {"prepare.feedback_until": newest} if newest is not None else {}


def build(entry: Entry, config: PrepareConfig, official: splits.OfficialSplits, said: Split | None = None) -> Dataset:
    """Return the checked data set: validation taken from the official training split, the test split as it is.

    What is taken is drawn at random, stratified by class; of a series it is the latest.

    Args:
        said: further training examples.

    Raises:
        DataError: the data is not what its entry says, or a class is too small to be in each split.
        ConfigError: the training limit is smaller than the number of classes.
    """
    check(official.train, entry, "train")
    check(official.test, entry, "test")
    if tasks.get(entry.task).chronological:
        train, validation = split_off_latest(official.train, config.validation_fraction)
        train = train.take(np.arange(len(train))[-(config.train_limit or 0) :])
    else:
        train, validation = split_off(official.train, config.validation_fraction, config.seed)
        train = stratified_subset(train, config.train_limit, config.seed)
    if said:
        train = Split(np.concatenate([train.inputs, said.inputs]), np.concatenate([train.targets, said.targets]))
    parts: dict[SplitName, Split] = {"train": train, "validation": validation, "test": official.test}
    for name, part in parts.items():
        _require_every_class(part, entry, name)
    hashes = {name: part.sha256() for name, part in parts.items()}
    identity = sha256("".join(f"{digest}  {name}\n" for name, digest in hashes.items()).encode())
    return Dataset(
        name=entry.name,
        task=entry.task,
        classes=entry.classes,
        input_shape=entry.input_shape,
        **parts,
        sha256=hashes,
        data_sha256=identity.hexdigest(),
    )


def split_off(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """Return the rest and a stratified, shuffled fraction of a split.

    Raises:
        DataError: there are too few examples, of a class or in all.
    """
    from sklearn.model_selection import train_test_split

    try:
        rest, taken = train_test_split(
            np.arange(len(split)), test_size=fraction, stratify=split.targets, random_state=seed
        )
    except ValueError as error:
        raise DataError(
            f"cannot take a stratified {fraction:g} of {len(split)} examples for validation: {error}",
            "Add examples, or change prepare.validation_fraction.",
        ) from error
    return split.take(rest), split.take(taken)


def split_off_latest(split: Split, fraction: float) -> tuple[Split, Split]:
    """Return what comes first, and the last fraction of a split: what is to be forecast must lie ahead.

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


def stratified_subset(split: Split, size: int | None, seed: int) -> Split:
    """Return a stratified, shuffled subset of at most `size` examples; None means all.

    Raises:
        ConfigError: `size` is smaller than the number of classes.
    """
    from sklearn.utils import resample

    if size is None or size >= len(split):
        return split
    classes = len(np.unique(split.targets))
    if size < classes:
        raise ConfigError(
            f"a training limit of {size} is less than one example for each of {classes} classes",
            f"Set it to {classes} at least, or to null for all.",
        )
    chosen = resample(np.arange(len(split)), replace=False, n_samples=size, stratify=split.targets, random_state=seed)
    return split.take(chosen)


def _feedback(paths: Paths, config: PrepareConfig, entry: Entry, test: Split) -> Split | None:
    if config.feedback is None:
        return None
    return feedback.read(_log(paths, config.feedback), config.feedback_until, entry, test)


def _log(paths: Paths, where: str) -> str:
    return where if "://" in where else str((paths.checkout / Path(where).expanduser()).resolve())


def _require_every_class(split: Split, entry: Entry, name: SplitName) -> None:
    missing = np.setdiff1d(np.arange(len(entry.classes)), split.targets)
    if len(missing):
        raise DataError(
            f"{entry.name}: class {entry.classes[missing[0]]!r} is so small that the {name} split has none of it",
            "Add examples of it, or raise prepare.validation_fraction or prepare.train_limit.",
        )
