"""Golden sets: images of users with labels that a review has accepted, drawn once, frozen, and never trained on.

Each set is a folder `var/golden/<dataset>/<first digits of its hash>` with `examples.npz`, its record `golden.json`,
and `model.sig` if it is signed. The set with the highest number is the current one, of those with one number, which two
machines drew at once, the one that was drawn last; earlier ones stay, so that runs that used them can be repeated.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mnistflow import files
from mnistflow.arrays import Array
from mnistflow.data.entry import Entry
from mnistflow.data.feedback.reports import Report, as_examples, images
from mnistflow.errors import ConfigError, DataError
from mnistflow.paths import Paths
from mnistflow.splits import OfficialSplits, Split

EXAMPLES, RECORD = "examples.npz", "golden.json"
DIGITS = 12  # of the hash, in the name of the folder
# Root mean square of the differences, in grey levels, up to which two images count as the same: another encoding or
# rounding of one picture, but no other picture.
SAME = 4.0
RESTORE = "Restore it from a backup, or draw a new one with `mnistflow feedback golden --draw N`."
FIX = "`mnistflow feedback golden --draw N` draws a new set."


@dataclass(frozen=True)
class GoldenSet:
    """A golden set on disk.

    Attributes:
        folder: of its files.
        dataset: its data set.
        number: 1 for the first one of the data set, and so on.
        sha256: hash of its examples.
        examples: number of them.
        drawn: when, with a time zone.
        by: user and machine.
        since: time of the feedback that all examples are newer than, in seconds since 1970; None means any.
    """

    folder: Path
    dataset: str
    number: int
    sha256: str
    examples: int
    drawn: str
    by: str
    since: float | None

    @property
    def order(self) -> tuple[int, str, str]:
        """Sort key: the current set of a data set has the highest."""
        return self.number, self.drawn, self.sha256

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the set in a folder.

        Raises:
            DataError: its record is missing or damaged.
        """
        try:
            return cls(folder, **files.read_json(folder / RECORD, FIX))
        except TypeError as error:
            raise DataError(f"{folder / RECORD} is damaged: {error}", FIX) from error


def draw(
    paths: Paths,
    entry: Entry,
    reports: Sequence[Report],
    official: OfficialSplits,
    *,
    number: int,
    seed: int,
    since: float | None,
    by: str,
) -> GoldenSet:
    """Draw a golden set at random from accepted reports, and write it; it is the current one from then on.

    Images of the official splits are left out, and so are those that accepted reports give several labels.

    Args:
        paths: of the checkout.
        entry: the data set.
        reports: all of them.
        official: the official splits.
        number: of examples.
        seed: of the draw.
        since: time of the newest feedback that the champion was trained on, in seconds since 1970, which only newer
            reports may join; None means that it was trained on none.
        by: user and machine.

    Raises:
        ConfigError: there are fewer images to draw from.
        DataError: the folder cannot be written.
    """
    eligible = _eligible(entry, reports, official, since)
    if len(eligible) < number:
        newer = "" if since is None else ", newer than the feedback that the champion was trained on,"
        raise ConfigError(
            f"a golden set of {number} examples cannot be drawn: only {len(eligible)} images of accepted "
            f"reports{newer} are in no split",
            "`mnistflow feedback accept` accepts more.",
        )
    rows = np.sort(np.random.default_rng(seed).choice(len(eligible), number, replace=False))
    examples = eligible.take(rows)
    digest = examples.sha256()
    earlier = current(paths, entry.name)
    record = {
        "dataset": entry.name,
        "number": earlier.number + 1 if earlier else 1,
        "sha256": digest,
        "examples": number,
        "drawn": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": by,
        "since": since,
    }
    folder = _folder(paths, entry.name, digest)
    with files.atomic_write(folder) as temporary:
        temporary.mkdir(parents=True)
        np.savez(temporary / EXAMPLES, inputs=examples.inputs, targets=examples.targets, classes=entry.classes)
        files.write_json(temporary / RECORD, record)
    return GoldenSet.read(folder)


def current(paths: Paths, dataset: str) -> GoldenSet | None:
    """Return the current set of a data set; None if there is none.

    Raises:
        DataError: the record of a set is damaged.
    """
    found = [GoldenSet.read(record.parent) for record in (paths.golden / dataset).glob(f"[!.]*/{RECORD}")]
    return max(found, key=lambda one: one.order, default=None)


def adopt(paths: Paths, dataset: str, source: Path) -> GoldenSet:
    """Copy a set of a data set from another folder, whose examples have to be those of its record.

    Raises:
        DataError: it is damaged, altered, or of another data set, or the copy cannot be written.
    """
    found = GoldenSet.read(source)
    examples, _ = _read(source / EXAMPLES, found.sha256)
    if found.dataset != dataset or len(examples) != found.examples:
        raise DataError(f"golden set {source} is not the one of {dataset} that its record states", FIX)
    folder = _folder(paths, dataset, found.sha256)
    with files.atomic_write(folder) as temporary:
        shutil.copytree(source, temporary)
    return GoldenSet.read(folder)


def load(paths: Paths, entry: Entry, digest: str | None) -> Split | None:
    """Return the examples of a golden set; None if there is none.

    Args:
        paths: of a run.
        entry: the data set.
        digest: hash of the set; None means the current one.

    Raises:
        DataError: the set is missing, damaged or altered, or has other classes than the data set.
    """
    if digest is None:
        newest = current(paths, entry.name)
        if newest is None:
            return None
        digest = newest.sha256
    path = _folder(paths, entry.name, digest) / EXAMPLES
    examples, classes = _read(path, digest)
    if classes != entry.classes:
        raise DataError(f"golden set {path} has other classes than {entry.name} now: {', '.join(classes)}", FIX)
    return examples


def among(images: Array, golden: Array) -> NDArray[np.bool_]:
    """Return for each image, uint8 `[n, height, width]`, whether it is the same picture as one of a golden set."""
    if not (len(images) and len(golden)):
        return np.zeros(len(images), bool)
    from sklearn.metrics import pairwise_distances_argmin_min

    pixels, known = (one.reshape(len(one), -1).astype(np.float32) for one in (images, golden))
    _, distances = pairwise_distances_argmin_min(pixels, known)
    return np.asarray(distances <= SAME * np.sqrt(pixels.shape[1]))


def _eligible(entry: Entry, reports: Sequence[Report], official: OfficialSplits, since: float | None) -> Split:
    labels: dict[bytes, set[int]] = defaultdict(set)
    accepted = [report for report in reports if report.decision == "accept" and report.class_name in entry.classes]
    for report in accepted:
        labels[report.image.tobytes()].add(entry.classes.index(report.class_name))
    first = {report.image.tobytes(): report for report in reversed(accepted)}
    chosen = [report for image, report in first.items() if len(labels[image]) == 1]
    found = as_examples(chosen, entry)
    # A picture may have been reported again since the champion was trained on it.
    learned = images([report for report in reports if since is not None and report.time <= since], entry)
    is_known = among(found.inputs, np.concatenate([official.train.inputs, official.test.inputs, learned]))
    return found.take(np.flatnonzero(~is_known))


def _read(path: Path, digest: str) -> tuple[Split, tuple[str, ...]]:
    """Return the examples in a file, and the names of the classes."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            examples, classes = Split(arrays["inputs"], arrays["targets"]), tuple(map(str, arrays["classes"]))
    except FileNotFoundError as error:
        raise DataError(f"golden set {path.parent} is missing", RESTORE) from error
    except (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile) as error:
        raise DataError(f"golden set {path} is damaged: {error}", RESTORE) from error
    if examples.sha256() != digest:
        raise DataError(f"golden set {path} was altered", RESTORE)
    return examples, classes


def _folder(paths: Paths, dataset: str, digest: str) -> Path:
    return paths.golden / dataset / digest[:DIGITS]
