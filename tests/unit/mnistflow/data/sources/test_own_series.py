"""Own time series from CSV files: what is read, and what is refused in one line."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from mnistflow.data import catalog
from mnistflow.errors import ConfigError, DataError

VALUES = 100 + 20 * np.sin(np.arange(300) / 4)
DAYS = [str(date(2024, 1, 1) + timedelta(days=day)) for day in range(300)]
LINES = [f"{day},{value:.3f}" for day, value in zip(DAYS, VALUES, strict=True)]


def write(folder: Path, lines: list[str], name: str = "sales.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_last_column_becomes_windows_in_units_of_the_training_split(tmp_path: Path) -> None:
    entry = catalog.own_data_set("sales_series", write(tmp_path, ["day,sold", *LINES]))
    assert (entry.task, entry.classes, entry.input_shape) == ("forecasting", (), (24, 1))
    assert entry.generate
    entry.generate(tmp_path)
    official = catalog.described("sales_series", ()).read(tmp_path)
    assert (len(official.train), len(official.test)) == (240 - 24, 60 - 24)
    expected = (VALUES - VALUES[:240].mean()) / VALUES[:240].std()
    assert official.train.inputs[0, :, 0] == pytest.approx(expected[:24], abs=1e-4)
    assert official.train.targets == pytest.approx(expected[24:240], abs=1e-4)
    assert official.test.targets == pytest.approx(expected[264:], abs=1e-4)


@pytest.mark.parametrize(
    "lines",
    [
        [f"{value:.3f}" for value in VALUES],
        ["day;temperature;sold", *(f"{line.replace(',', ';3,5;')}" for line in LINES), "", ""],
        [f"{number},{value:.3f}" for number, value in enumerate(VALUES)],
        ['\ufeff"day"\t"sold, in pieces"', *(line.replace(",", "\t") for line in LINES)],
    ],
)
def test_columns_are_separated_by_whatever_the_first_line_has(tmp_path: Path, lines: list[str]) -> None:
    plain = catalog.own_data_set("sales_series", write(tmp_path, LINES, "plain.csv"))
    other = catalog.own_data_set("sales_series", write(tmp_path, lines, "other.csv"))
    assert plain.fingerprint != other.fingerprint
    assert plain.generate
    assert other.generate
    first = [path.read_bytes() for path in plain.generate(tmp_path)]
    assert first == [path.read_bytes() for path in other.generate(tmp_path)]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], "sales.csv has 0 values"),
        (LINES[:100], "sales.csv has 100 values"),
        ([*LINES[:200], "2024-07-19,n/a", *LINES[201:]], "line 201: 'n/a' is not a number"),
        ([*LINES[:200], "2024-07-19,", *LINES[201:]], "line 201: '' is not a number"),
        ([*LINES[:200], "2024-07-19,inf", *LINES[201:]], "line 201: 'inf' is not a number"),
        (["day;sold", *(line.replace(",", ";").replace(".", ",") for line in LINES)], "line 2: '100,000' is not"),
        (["day,sold", *reversed(LINES)], "line 3: 2024-10-25 is not later than the line before"),
        ([line.replace(".", ",") for line in ["day,sold", *LINES]], "line 2: 3 cells, but the first line has 2"),
        (
            ["sold", *(f"{value:.1f}".replace(".", ",") for value in VALUES)],
            "line 2: 2 cells, but",
        ),
        (["2023-12-31,NaN", *LINES], "line 1: 'NaN' is not a number"),
        (["1"] * 300, "the values of the training split are all the same"),
        (['"', *LINES], "cannot be read as a CSV file"),
        ([f"{value:.1f}".replace(".", ",") for value in VALUES], "'100,0' may be two columns, or numbers with decimal"),
        ([str(1e306 * value) for value in VALUES], "too large, too small or too far apart"),
        ([str(1e-200 * value) for value in VALUES], "too large, too small or too far apart"),
        ([*map(str, VALUES[:-1]), "1e300"], "too large, too small or too far apart"),
    ],
)
def test_a_bad_file_is_refused_with_one_line(tmp_path: Path, lines: list[str], problem: str) -> None:
    with pytest.raises(DataError, match=problem) as refused:
        catalog.own_data_set("sales_series", write(tmp_path, lines))
    assert "\n" not in str(refused.value)


def test_integers_after_an_increasing_time_need_no_header(tmp_path: Path) -> None:
    counts = [f"{2000 + number},{value:.0f}" for number, value in enumerate(VALUES)]
    assert catalog.own_data_set("sales_series", write(tmp_path, counts)).generate


def test_hours_with_an_offset_are_compared_in_utc(tmp_path: Path) -> None:
    start = datetime(2024, 10, 26, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)  # a day before summer time ends
    hours = [(start + timedelta(hours=hour)).astimezone(ZoneInfo("Europe/Berlin")).isoformat() for hour in range(300)]
    lines = [f"{hour},{value:.3f}" for hour, value in zip(hours, VALUES, strict=True)]
    assert catalog.own_data_set("sales_series", write(tmp_path, lines)).generate
    lines[26:28] = lines[27:25:-1]
    with pytest.raises(DataError, match="line 28: 2024-10-27"):
        catalog.own_data_set("sales_series", write(tmp_path, lines))


def test_bytes_that_are_no_text_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match="cannot be read as a CSV file"):
        catalog.own_data_set("sales_series", tmp_path / "sales.csv")
    with pytest.raises(DataError, match="is missing"):
        catalog.own_data_set("sales_series", tmp_path / "sold.csv")


@pytest.mark.parametrize(("name", "file"), [("sales", "sales.csv"), ("letters_series", "letters.npz")])
def test_the_name_says_whether_it_is_a_series(tmp_path: Path, name: str, file: str) -> None:
    with pytest.raises(ConfigError, match=rf"fetch.own.{name}: {file} is (a|no) CSV file"):
        catalog.own_data_set(name, tmp_path / file)
