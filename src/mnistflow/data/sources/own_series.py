"""Own time series of a user: a CSV file with a line for each point in time, the earliest first, converted to windows.

The values are numbers in the last column. Other columns are ignored, but dates in the first one must increase. A
header is optional; columns are separated by commas, semicolons or tabs. The last fifth is the test split.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnistflow import files
from mnistflow.data.sources import windows
from mnistflow.errors import DataError

SUFFIX = ".csv"
WINDOW = 24  # values that a forecast is computed from: the hours of a day, or the months of two years
MIN_VALUES = 10 * WINDOW

_DELIMITERS = ";\t,"


@dataclass(frozen=True)
class Source:
    """A file with a user's time series.

    Attributes:
        path: of the CSV file.
        sha256: of the file.
    """

    path: Path
    sha256: str

    def write_official_files(self, folder: Path) -> tuple[Path, ...]:
        """Write the standardized windows of both splits, and return the paths.

        Raises:
            DataError: the file is not a series; names the first line that is wrong.
        """
        return windows.write_series(folder, _read(self.path), WINDOW)


def find(path: Path) -> Source:
    """Return the series of a CSV file, which is read and checked.

    Raises:
        DataError: the file does not exist or is not a series; names the first line that is wrong.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing", "Correct the path in fetch.own; it is relative to the checkout.")
    _read(path)
    return Source(path, files.sha256(path))


def _read(path: Path) -> NDArray[Any]:
    """Return the values, float64 `[n]`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = list(_rows(text))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a CSV file: {error}", "Save it as text in UTF-8.") from error
    _check_columns(path, rows)
    if rows and rows[0][1][-1].strip() and _number(rows[0][1][-1]) is None:
        rows = rows[1:]  # the header
    else:
        _check_no_decimal_commas(path, text, rows)
    _check_dates(path, rows)
    values = np.array([_value(path, line, cells[-1]) for line, cells in rows])
    if len(values) < MIN_VALUES:
        raise DataError(f"{path} has {len(values)} values", f"Add values: at least {MIN_VALUES} are needed.")
    if not np.ptp(values[: int(windows.TRAIN_FRACTION * len(values))]):
        raise DataError(f"{path}: the values of the training split are all the same", "Check the last column.")
    if not np.all(np.isfinite(windows.standardized(values))):
        raise DataError(
            f"{path}: the values are too large, too small or too far apart for float32 once they are standardized",
            "Use another unit, or correct values that are no measurements.",
        )
    return values


def _rows(text: str) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield the number of each line that is not empty, from 1, and its cells."""
    reader = csv.reader(text.splitlines(), delimiter=_delimiter(text), strict=True)
    for cells in reader:
        if any(map(str.strip, cells)):
            yield reader.line_num, cells


def _delimiter(text: str) -> str:
    first = text.partition("\n")[0]
    return next((character for character in _DELIMITERS if character in first), ",")


def _value(path: Path, line: int, cell: str) -> float:
    value = _number(cell)
    if value is None or not math.isfinite(value):
        raise DataError(f"{path}, line {line}: {cell[:40]!r} is not a number", "Values are in the last column.")
    return value


def _check_columns(path: Path, rows: Sequence[tuple[int, Sequence[str]]]) -> None:
    """Raise DataError if a line has another number of cells than the first one, as decimal commas cause it."""
    for line, cells in rows:
        if len(cells) != len(rows[0][1]):
            raise DataError(
                f"{path}, line {line}: {len(cells)} cells, but the first line has {len(rows[0][1])}",
                "Write numbers with decimal points, or separate the columns by semicolons.",
            )


def _check_no_decimal_commas(path: Path, text: str, rows: Sequence[tuple[int, Sequence[str]]]) -> None:
    """Raise DataError if lines without a header are probably single numbers with decimal commas.

    These are pairs of integers with a comma between them, the first of which do not increase, as those of a time would.
    """
    pairs = [[cell.strip() for cell in cells] for _, cells in rows if len(cells) == 2]
    if not pairs or len(pairs) < len(rows) or _delimiter(text) != ",":
        return
    if not all(first.lstrip("+-").isdecimal() and second.isdecimal() for first, second in pairs):
        return
    first = [int(first) for first, _ in pairs]
    if any(later <= before for before, later in pairwise(first)):
        raise DataError(
            f"{path}: lines such as {','.join(pairs[0])!r} may be two columns, or numbers with decimal commas",
            "Name the columns in a first line, or write numbers with decimal points.",
        )


def _number(cell: str) -> float | None:
    """Return a cell as a number, which may be `nan` or infinite; None if it is none."""
    try:
        return float(cell)
    except ValueError:
        return None


def _check_dates(path: Path, rows: Sequence[tuple[int, Sequence[str]]]) -> None:
    """Raise DataError if the first column contains dates, and one of them is not later than the one before."""
    dates = [_date(cells[0]) if len(cells) > 1 else None for _, cells in rows]
    for (line, cells), before, date in zip(rows[1:], dates, dates[1:], strict=False):
        if date and before and not _is_later(date, before):
            raise DataError(
                f"{path}, line {line}: {cells[0]} is not later than the line before", "Sort the lines, earliest first."
            )


def _is_later(date: datetime, before: datetime) -> bool:
    """Return whether a date is later than another one: in UTC if both have an offset, else by the clock."""
    if date.utcoffset() is None or before.utcoffset() is None:
        date, before = date.replace(tzinfo=None), before.replace(tzinfo=None)
    return date > before


def _date(cell: str) -> datetime | None:
    try:
        return datetime.fromisoformat(cell.strip())
    except ValueError:
        return None
