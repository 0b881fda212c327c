"""Fetching from folders and HTTP mirrors that work, fail, break off or lie."""

import gzip
import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from checkouts import ROOT
from mirror import Mirror
from PIL import Image

from mnistflow import config
from mnistflow.data import catalog, fetch
from mnistflow.data.config import FetchConfig
from mnistflow.data.entry import Entry, File
from mnistflow.data.sources import digits
from mnistflow.errors import ConfigError, DataError, MirrorsExhausted
from mnistflow.paths import Paths

LABELS = "t10k-labels-idx1-ubyte.gz"


@pytest.fixture(scope="module")
def mirror_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror that holds scikit-learn's digits as a published data set."""
    folder = tmp_path_factory.mktemp("mirror") / "published"
    folder.mkdir()
    for path in digits.write_official_files(folder):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        path.unlink()
    return folder.parent


@pytest.fixture(scope="module")
def entry(mirror_folder: Path) -> Entry:
    def described(path: Path) -> File:
        content, unpacked = path.read_bytes(), gzip.decompress(path.read_bytes())
        return File(len(content), hashlib.sha256(content).hexdigest(), "", len(unpacked), "")

    files = {path.name: described(path) for path in sorted((mirror_folder / "published").iterdir())}
    return replace(catalog.get("mnist"), name="published", files=files, mirrors=())


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path, tmp_path)


@pytest.fixture
def settings() -> FetchConfig:
    values = {"fetch.backoff_seconds": 0.01, "fetch.timeout_seconds": 0.5}
    return config.load(ROOT / "params.yaml").with_values(values).fetch


def assert_complete(downloaded: tuple[Path, ...], entry: Entry) -> None:
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in downloaded} == {
        name: file.sha256 for name, file in entry.files.items()
    }
    assert not list(downloaded[0].parent.glob("*.part"))


def test_a_folder_is_a_mirror(paths: Paths, settings: FetchConfig, entry: Entry, mirror_folder: Path) -> None:
    downloaded = fetch.acquire(entry, [str(mirror_folder)], paths, settings)
    assert_complete(downloaded, entry)
    sources = json.loads((downloaded[0].parent / "source.json").read_text())
    assert sources[LABELS] == str(mirror_folder / "published" / LABELS)


def test_mirrors_are_tried_in_order(paths: Paths, settings: FetchConfig, entry: Entry, mirror_folder: Path) -> None:
    with Mirror(mirror_folder) as first, Mirror(mirror_folder) as second:
        assert_complete(fetch.acquire(entry, ["nowhere", first.url, second.url], paths, settings), entry)
    assert len(first.requests) == len(entry.files)
    assert second.requests == []


@pytest.mark.parametrize("fault", [404, 500, "corrupt", "cut", pytest.param("stall", marks=pytest.mark.slow)])
def test_the_next_mirror_is_asked_on_any_failure(
    paths: Paths, settings: FetchConfig, entry: Entry, mirror_folder: Path, fault: int | str
) -> None:
    with Mirror(mirror_folder, *[fault] * 99) as bad, Mirror(mirror_folder) as good:
        assert_complete(fetch.acquire(entry, [bad.url, good.url], paths, settings), entry)
    assert bad.requests
    assert {path for path, _ in good.requests} == {f"/published/{name}" for name in entry.files}


def test_a_download_that_breaks_off_is_continued(
    paths: Paths, settings: FetchConfig, entry: Entry, mirror_folder: Path
) -> None:
    one = replace(entry, files={LABELS: entry.files[LABELS]})
    with Mirror(mirror_folder, "cut") as mirror:
        assert_complete(fetch.acquire(one, [mirror.url], paths, settings), one)
    assert [wanted for _, wanted in mirror.requests] == [None, f"bytes={entry.files[LABELS].bytes // 2}-"]


def test_what_an_earlier_process_left_is_continued_or_started_again(
    paths: Paths, settings: FetchConfig, entry: Entry, mirror_folder: Path
) -> None:
    one = replace(entry, files={LABELS: entry.files[LABELS]})
    part = paths.downloads / "published" / f"{LABELS}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes((mirror_folder / "published" / LABELS).read_bytes()[:100])
    with Mirror(mirror_folder) as mirror:
        fetch.acquire(one, [mirror.url], paths, settings)
        (paths.downloads / "published" / LABELS).unlink()
        part.write_bytes(b"?" * 100)
        assert_complete(fetch.acquire(one, [mirror.url], paths, settings), one)
    assert [wanted for _, wanted in mirror.requests] == ["bytes=100-", "bytes=100-", None]


def test_a_busy_mirror_is_asked_again_and_a_missing_file_is_not(
    paths: Paths, settings: FetchConfig, entry: Entry, mirror_folder: Path, tmp_path: Path
) -> None:
    one = replace(entry, files={LABELS: entry.files[LABELS]})
    with Mirror(tmp_path / "empty") as lacking, Mirror(mirror_folder, 503, 429) as busy:
        assert_complete(fetch.acquire(one, [lacking.url, busy.url], paths, settings), one)
    assert len(lacking.requests) == 1
    assert len(busy.requests) == 3


def test_an_unknown_host_is_not_asked_again(
    paths: Paths, settings: FetchConfig, entry: Entry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(MirrorsExhausted, match="Name or service not known"):
        fetch.acquire(entry, ["http://-no-host"], paths, settings)  # a name that the name service refuses to look up
    assert settings.attempts > 1
    assert "attempt 2" not in caplog.text
    with pytest.raises(MirrorsExhausted, match="Connection refused"):
        fetch.acquire(entry, ["http://127.0.0.1:1"], paths, settings)
    assert "attempt 2" in caplog.text


def test_what_is_there_and_right_is_not_fetched_again(
    paths: Paths, settings: FetchConfig, entry: Entry, mirror_folder: Path
) -> None:
    downloaded = fetch.acquire(entry, [str(mirror_folder)], paths, settings)
    assert fetch.acquire(entry, [], paths, settings) == downloaded


def test_what_is_there_and_damaged_is_replaced(
    paths: Paths, settings: FetchConfig, entry: Entry, mirror_folder: Path
) -> None:
    downloaded = fetch.acquire(entry, [str(mirror_folder)], paths, settings)
    downloaded[0].write_bytes(b"damaged")
    assert_complete(fetch.acquire(entry, [str(mirror_folder)], paths, settings), entry)


def test_without_any_mirror_the_error_names_the_file_each_reason_and_the_mend(
    paths: Paths, settings: FetchConfig, entry: Entry, mirror_folder: Path, tmp_path: Path
) -> None:
    with (
        Mirror(mirror_folder, *["corrupt"] * 99) as lying,
        Mirror(tmp_path) as empty,
        pytest.raises(MirrorsExhausted) as raised,
    ):
        fetch.acquire(entry, ["nowhere", lying.url, empty.url], paths, settings)
    message = str(raised.value)
    assert f"published/{next(iter(entry.files))}" in message
    assert "No such file" in message
    assert "wrong contents (sha256)" in message
    assert "HTTP 404" in message
    assert "MNISTFLOW_MIRRORS" in message
    assert not [path for path in (paths.downloads / "published").iterdir() if path.suffix in {".gz", ".part"}]


def test_a_reason_of_several_mirrors_is_given_once(
    paths: Paths, settings: FetchConfig, entry: Entry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(MirrorsExhausted) as raised:
        fetch.acquire(entry, ["one", "two", "http://127.0.0.1:1", "three"], paths, settings)
    reasons = raised.value.problem.removeprefix(f"none of 4 mirrors provided published/{next(iter(entry.files))}: ")
    assert reasons == f"No such file or directory ({paths.checkout}/one/published and 2 others); " + (
        "Connection refused (127.0.0.1:1)"
    )
    assert caplog.messages == []


def test_own_images_are_counted_and_their_folder_is_named(
    paths: Paths, settings: FetchConfig, caplog: pytest.LogCaptureFixture
) -> None:
    for name, brightness in {"dark": 10, "light": 200}.items():
        (paths.checkout / "own" / name).mkdir(parents=True)
        for number in range(12):
            Image.new("L", (28, 28), brightness + number).save(paths.checkout / "own" / name / f"{number}.png")
    caplog.set_level(logging.INFO)
    fetch.fetch(paths, settings.model_copy(update={"dataset": "shades", "own": {"shades": "own"}}))
    assert caplog.messages == [f"shades: reading 24 images of 2 classes from {paths.checkout / 'own'}"]


def test_a_place_that_cannot_be_written_is_named(
    paths: Paths, settings: FetchConfig, entry: Entry, mirror_folder: Path
) -> None:
    paths.var.mkdir()
    paths.downloads.write_text("a file where a folder belongs")
    with pytest.raises(DataError, match=f"cannot write {paths.downloads}"):
        fetch.acquire(entry, [str(mirror_folder)], paths, settings)


def test_the_fallback_is_chosen_only_when_no_mirror_answers(
    paths: Paths, settings: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MNISTFLOW_MIRRORS", raising=False)
    unreachable = settings.model_copy(update={"mirrors": ("nowhere",)})
    assert fetch.choose_dataset(unreachable, paths) == "digits"
    with pytest.raises(MirrorsExhausted):
        fetch.choose_dataset(unreachable.model_copy(update={"fallback": None}), paths)
    with pytest.raises(MirrorsExhausted):
        fetch.fetch(paths, unreachable)


def test_an_unknown_data_set_is_refused_with_the_known_ones(paths: Paths, settings: FetchConfig) -> None:
    with pytest.raises(ConfigError, match=r"mnits.*fashion_mnist"):
        fetch.fetch(paths, settings.model_copy(update={"dataset": "mnits"}))


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
def test_a_published_data_set_is_described_completely(name: str) -> None:
    """Four files in the IDX layout: headers of 16 and 8 bytes, 784 bytes an image, one a label."""
    entry = catalog.get(name)
    assert len(entry.classes) == len(set(entry.classes)) == 10
    assert all(mirror.startswith("http") and mirror.endswith("/") for mirror in entry.mirrors)
    assert {file_name: file.raw_bytes for file_name, file in entry.files.items()} == {
        "train-images-idx3-ubyte.gz": 16 + 60_000 * 784,
        "train-labels-idx1-ubyte.gz": 8 + 60_000,
        "t10k-images-idx3-ubyte.gz": 16 + 10_000 * 784,
        "t10k-labels-idx1-ubyte.gz": 8 + 10_000,
    }
    for file in entry.files.values():
        assert (len(bytes.fromhex(file.sha256)), len(bytes.fromhex(file.md5))) == (32, 16)
        assert 0 < file.bytes < file.raw_bytes


def test_the_stage_leaves_verified_files_and_a_manifest_that_names_no_place(
    paths: Paths, settings: FetchConfig
) -> None:
    fetched = fetch.fetch(paths, settings.model_copy(update={"dataset": "digits"}))
    manifest = json.loads((paths.raw / "dataset.json").read_text())
    assert manifest["name"] == fetched.dataset == "digits"
    assert manifest["sha256"] == fetched.sha256
    assert {name: file["sha256"] for name, file in manifest["files"].items()} == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths.raw.glob("*ubyte")
    }
    assert str(paths.checkout) not in json.dumps(manifest)
