"""Catalogue of data sets: classes, shapes, files, mirrors and readers.

A new data set is an entry here. A data set published as IDX files needs only an entry in `catalog.json`. Any other
needs a function that reads its raw files, and one that generates them if there is nothing to download.

Each data set of images is also one that new images are learned from, under a name of its own: `mnist_generation`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from importlib import resources
from pathlib import Path

from mnistflow.data.entry import (
    FORECASTING,
    GENERATION,
    GENERATION_SUFFIX,
    IMAGE_CLASSIFICATION,
    Entry,
    File,
    Preprocessing,
)
from mnistflow.errors import ConfigError

# Functions import the sources that they need, because reading the registry needs only `task_of`, but not NumPy.

OWN_IMBALANCE = 100.0  # `max_imbalance` of a user's own images
OWN_SERIES = "_series"  # end of the names of a user's own time series: their task follows from the name alone
# Tasks of known data sets that are not images.
_TASKS = {"sine": FORECASTING, "google_volume": FORECASTING, "vectors": "binary_classification"}


def task_of(name: str) -> str:
    """Return the name of the task of a data set, known or a user's own."""
    suffixes = {OWN_SERIES: FORECASTING, GENERATION_SUFFIX: GENERATION}
    by_suffix = next((task for suffix, task in suffixes.items() if name.endswith(suffix)), IMAGE_CLASSIFICATION)
    return _TASKS.get(name, by_suffix)


def get(name: str) -> Entry:
    """Return a known data set.

    Raises:
        ConfigError: no data set has that name; lists the known ones.
    """
    try:
        return entries()[name]
    except KeyError:
        raise ConfigError(f"unknown data set {name!r}", f"Use one of: {', '.join(entries())}.") from None


def described(name: str, classes: tuple[str, ...]) -> Entry:
    """Return the data set of a name: a known one, or a user's own images with these classes, or series."""
    from mnistflow.data.sources import idx, npz, own_series

    if name in entries():
        return entries()[name]
    if task_of(name) == FORECASTING:
        return Entry(name, (), (own_series.WINDOW, 1), read=npz.read_splits, task=FORECASTING)
    return Entry(name, classes, idx.IMAGE_SHAPE, read=idx.read_splits, max_imbalance=OWN_IMBALANCE, task=task_of(name))


def own_data_set(name: str, path: Path) -> Entry:
    """Return a data set of a user's own images or time series.

    Args:
        name: of the data set.
        path: CSV file with the series, see `sources.own_series`; folder or .npz file with the images, see
            `sources.own_images`.

    Raises:
        ConfigError: a known data set has the same name, or the name is not one of such data.
        DataError: `path` has no usable images or no series.
    """
    from mnistflow.data.sources import own_images, own_series

    if name in entries():
        raise ConfigError(f"fetch.own.{name}: a known data set has this name", "Choose another name.")
    is_series = path.suffix.lower() == own_series.SUFFIX
    if is_series != (task_of(name) == FORECASTING):
        raise ConfigError(
            f"fetch.own.{name}: {path.name} is {'a' if is_series else 'no'} CSV file",
            f"The name of a time series must end with {OWN_SERIES}, that of images must not.",
        )
    if is_series:
        series = own_series.find(path)
        write, digest = series.write_official_files, series.sha256
        return replace(described(name, ()), generate=write, origin=str(path), fingerprint=digest)
    images = own_images.find(path)
    return replace(
        described(name, images.classes),
        generate=images.write_official_files,
        origin=f"{images.count:,} images of {len(images.classes)} classes from {path}",
        fingerprint=images.sha256,
    )


@cache
def entries() -> Mapping[str, Entry]:
    """Return all known data sets by name."""
    from mnistflow.data.sources import digits, google_volume, idx, npz, synthetic

    published = json.loads(resources.files(__package__).joinpath("catalog.json").read_text(encoding="utf-8"))
    known = [_published_as_idx(name, **facts) for name, facts in published.items()]
    known += [
        Entry(
            "digits",
            digits.CLASSES,
            idx.IMAGE_SHAPE,
            read=idx.read_splits,
            generate=digits.write_official_files,
            preprocessing="digit",
        ),
        Entry(
            "sine",
            (),
            (synthetic.WINDOW, 1),
            read=npz.read_splits,
            generate=synthetic.write_sine,
            task=task_of("sine"),
        ),
        Entry(
            "google_volume",
            (),
            (google_volume.WINDOW, 1),
            read=npz.read_splits,
            generate=google_volume.write_series,
            task=task_of("google_volume"),
        ),
        Entry(
            "vectors",
            synthetic.CLASSES,
            (synthetic.FEATURES,),
            read=npz.read_splits,
            generate=synthetic.write_vectors,
            task=task_of("vectors"),
        ),
    ]
    images = [entry for entry in known if entry.task == IMAGE_CLASSIFICATION]
    known += [replace(entry, name=entry.name + GENERATION_SUFFIX, task=GENERATION) for entry in images]
    return {entry.name: entry for entry in known}


def _published_as_idx(
    name: str,
    classes: list[str],
    preprocessing: Preprocessing,
    mirrors: list[str],
    files: dict[str, dict[str, str | int]],
) -> Entry:
    from mnistflow.data.sources import idx

    known = {file_name: File(**facts) for file_name, facts in files.items()}  # type: ignore[arg-type]
    limits = {file_name: file.raw_bytes for file_name, file in known.items()}
    read = partial(idx.read_splits, suffix=".gz", limits=limits)
    return Entry(
        name,
        tuple(classes),
        idx.IMAGE_SHAPE,
        read=read,
        files=known,
        mirrors=tuple(mirrors),
        preprocessing=preprocessing,
    )
