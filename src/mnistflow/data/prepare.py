"""Stage prepare: checks the raw data, splits it, and writes the data report."""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from mnistflow import files, splits, tasks
from mnistflow.data import catalog, raw, report, splitting
from mnistflow.data.checks import check, require_every_class
from mnistflow.data.config import PrepareConfig
from mnistflow.data.entry import Entry
from mnistflow.data.feedback import golden, reports, selection
from mnistflow.data.feedback.selection import Selection
from mnistflow.paths import Paths
from mnistflow.splits import Dataset, OfficialSplits, Split, SplitName


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


def prepare(paths: Paths, config: PrepareConfig) -> Prepared:
    """Check and split the workspace's raw data; write the splits and the data report.

    Raises:
        DataError: the raw data does not match its entry or is too small to split, or a folder cannot be written.
        ConfigError: the configured sizes do not fit the data.
    """
    fetched = raw.load(paths.raw)
    entry = catalog.described(fetched.name, fetched.classes)
    official, frozen = entry.read(paths.raw), golden.load(paths, entry, config.golden)
    chosen = _selected(paths, config, entry, official, frozen)
    dataset = build(entry, config, official, chosen.examples(entry) if chosen.used else None, frozen)
    with files.atomic_folder(paths.prepared) as temporary:
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
    location = reports.location(paths, config)
    newest = reports.newest(location) if location else None
    frozen = golden.current(paths, dataset)
    return {
        **({"prepare.feedback_until": newest} if newest is not None else {}),
        **({"prepare.golden": frozen.sha256} if frozen and config.golden is None else {}),
    }


def _selected(
    paths: Paths, config: PrepareConfig, entry: Entry, official: OfficialSplits, frozen: Split | None
) -> Selection:
    location = reports.location(paths, config)
    if location is None:
        return Selection(())
    return selection.select(reports.read(location, config.feedback_until, entry), entry, official, config, frozen)


def build(
    entry: Entry,
    config: PrepareConfig,
    official: OfficialSplits,
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
    train, validation = _split(known, entry, config)
    learned, held_out = splitting.split_off_evenly(
        feedback_examples or known.take(np.arange(0)), config.validation_fraction
    )
    parts: dict[SplitName, Split] = {
        "train": train.concatenate(learned),
        "validation": validation.concatenate(held_out),
        "test": official.test,
    }
    for name, part in parts.items():
        require_every_class(part, entry, name)
    if golden_set is not None:
        parts["golden"] = golden_set
    hashes = {name: part.sha256() for name, part in parts.items()}
    identity = sha256("".join(f"{digest}  {name}\n" for name, digest in hashes.items()).encode())
    return Dataset(
        name=entry.name,
        task=entry.task,
        classes=entry.classes,
        input_shape=entry.input_shape,
        train=parts["train"],
        validation=parts["validation"],
        test=official.test,
        golden=golden_set,
        sha256=hashes,
        data_sha256=identity.hexdigest(),
        feedback=len(learned),
        feedback_validation=len(held_out),
    )


def _without(split: Split, golden_set: Split) -> Split:
    return split.take(np.flatnonzero(~golden.among(split.inputs, golden_set.inputs)))


def _split(known: Split, entry: Entry, config: PrepareConfig) -> tuple[Split, Split]:
    """Return the training and validation examples among the official training examples."""
    if tasks.get(entry.task).chronological:
        train, validation = splitting.split_off_latest(known, config.validation_fraction)
        return splitting.latest(train, config.train_limit), validation
    fraction = splitting.validation_fraction(
        config.validation_fraction, config.min_validation, len(known), len(entry.classes)
    )
    train, validation = splitting.split_off(known, fraction, config.seed)
    train, validation = splitting.with_enough_of_each_class(train, validation, config.min_validation)
    return splitting.stratified_subset(train, config.train_limit, config.seed), validation
