"""Splitting: held-out parts and subsets of a split, at random, by time, or evenly."""

import numpy as np

from mnistflow.errors import ConfigError, DataError
from mnistflow.splits import Split

MAX_HELD_OUT_SHARE = 0.25  # of small data that is held out to have `prepare.min_validation` examples of each class


def validation_fraction(fraction: float, enough: int, examples: int, classes: int) -> float:
    """Return the share of examples that is held out: a given one, or more on small data.

    Args:
        fraction: the given share.
        enough: number of examples of each class that are to be held out.
        examples: number of examples to split.
        classes: number of classes.
    """
    return max(fraction, min(enough * classes / examples, MAX_HELD_OUT_SHARE))


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


def with_enough_of_each_class(train: Split, validation: Split, enough: int) -> tuple[Split, Split]:
    """Move examples of small classes to the validation split, which has too few of them if its share fits the mean.

    Args:
        train: to take them from.
        validation: of the same classes.
        enough: number of validation examples of each class.
    """
    classes, counts = np.unique(np.concatenate([train.targets, validation.targets]), return_counts=True)
    moved = [
        np.flatnonzero(train.targets == label)[: max(0, wanted - int((validation.targets == label).sum()))]
        for label, count in zip(classes, counts, strict=True)
        if (wanted := min(enough, int(MAX_HELD_OUT_SHARE * count)))
    ]
    indices = np.concatenate([*moved, np.empty(0, np.int64)])
    rest = train.take(np.setdiff1d(np.arange(len(train)), indices))
    return rest, validation.concatenate(train.take(indices))


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


def latest(split: Split, size: int | None) -> Split:
    """Return the last `size` examples of a time series; None means all."""
    return split.take(np.arange(len(split))[-size:]) if size else split


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
