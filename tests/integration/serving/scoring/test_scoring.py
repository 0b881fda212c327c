"""Batch scoring of every kind of input: the answers are those of the model, also after kills and from S3."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import serving_kit as kit
import tracking_server
from cluster import dask_cluster
from PIL import Image
from waiting import wait_until

pytestmark = pytest.mark.slow

ROWS = 60


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    images, _ = kit.digits()
    for version in (1, 2):
        kit.publish(folder, version, kit.untrained(version), images, doubt=DOUBT, preprocessing="plain")
    kit.set_champion(folder, 2)
    return folder


DOUBT = {"coverage": 0.99, "set_threshold": 0.1, "refusal_threshold": 0.12, "false_refusals": 0.01}


def command(repository: Path, *arguments: object, workers: int = 2, block: int = 25) -> list[str]:
    options = ("--repository", repository, "--model", kit.NAME, "--block", block, "--workers", workers)
    return [sys.executable, "-m", "serving.scoring", *map(str, options), *map(str, arguments)]


def score(repository: Path, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command(repository, *arguments), capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write_npz(folder: Path, images: np.ndarray) -> Path:
    np.savez_compressed(folder / "images.npz", images=images, labels=np.zeros(len(images)))
    return folder / "images.npz"


def write_npy(folder: Path, images: np.ndarray) -> Path:
    np.save(folder / "images.npy", images)
    return folder / "images.npy"


def write_lists(folder: Path, images: np.ndarray) -> Path:
    flat = pa.FixedSizeListArray.from_arrays(pa.array(images.reshape(-1)), 784)
    pq.write_table(pa.table({"id": list(range(len(images))), "images": flat}), folder / "lists.parquet")
    return folder / "lists.parquet"


def write_encoded(folder: Path, images: np.ndarray) -> Path:
    """Write two files as Hugging Face's `datasets` does."""
    (folder / "encoded").mkdir()
    for number, half in enumerate(np.split(images, 2)):
        rows = [{"bytes": png(image), "path": None} for image in half]
        pq.write_table(pa.table({"image": rows}), folder / f"encoded/{number}.parquet")
    return folder / "encoded"


def write_pictures(folder: Path, images: np.ndarray) -> Path:
    (folder / "pictures").mkdir()
    for number, image in enumerate(images):
        (folder / f"pictures/{number:03}.png").write_bytes(png(image))
    return folder / "pictures"


def beside_each_other(*digits: np.ndarray) -> np.ndarray:
    """Return digits, dark on light paper, with a margin around each."""
    return 255 - np.pad(np.hstack([np.pad(digit, 20) for digit in digits]), 20)


@pytest.mark.parametrize("write", [write_npz, write_npy, write_lists, write_encoded, write_pictures])
def test_every_row_gets_the_answer_of_the_model(repository: Path, tmp_path: Path, write: Any) -> None:
    images = kit.digits()[0][:ROWS]
    done = score(repository, write(tmp_path, images), tmp_path / "out")
    assert f"{ROWS} rows in " in done.stdout
    assert "version 2" in done.stdout
    found = pq.read_table(tmp_path / "out")
    expected = kit.untrained(2).probabilities(images)
    np.testing.assert_allclose(found["probabilities"].to_pylist(), expected, atol=1e-5)
    assert found["row"].to_pylist() == list(range(ROWS))
    assert found["prediction"].to_pylist() == [str(number) for number in expected.argmax(1)]
    assert found["uncertain"].to_pylist() == (found["confidence"].to_numpy() < DOUBT["refusal_threshold"]).tolist()
    manifest = json.loads((repository / kit.NAME / "2/model.json").read_text())
    assert set(found["sha256"].to_pylist()) == {manifest["sha256"]}
    assert set(found["version"].to_pylist()) == {2}


def test_pictures_of_several_digits_are_uncertain(tmp_path: Path) -> None:
    images, labels = kit.digits()
    ones = images[labels == 1]
    never_refuses = DOUBT | {"refusal_threshold": 0.0}
    kit.publish(tmp_path, 1, kit.untrained(1), images, doubt=never_refuses, preprocessing="digit")
    pictures = write_pictures(tmp_path, np.array([beside_each_other(ones[0])]))
    (pictures / "001.png").write_bytes(png(beside_each_other(ones[0], ones[1])))
    score(tmp_path, pictures, tmp_path / "out", "--version", "1")
    assert pq.read_table(tmp_path / "out")["uncertain"].to_pylist() == [False, True]


def test_unreadable_pictures_are_named_and_counted(repository: Path, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path, kit.digits()[0][:30])
    (pictures / "007.png").write_bytes(b"no picture")
    (pictures / "notes.txt").write_text("no picture either")
    done = score(repository, pictures, tmp_path / "out", "--version", "1")
    assert "30 rows in 2 files" in done.stdout
    assert "1 row has no prediction" in done.stderr
    assert "007.png: " in done.stderr
    found = pq.read_table(tmp_path / "out")
    assert [index for index, error in enumerate(found["error"].to_pylist()) if error] == [7]
    assert found["prediction"][7].as_py() is found["probabilities"][7].as_py() is None
    assert set(found["version"].to_pylist()) == {1}


def test_a_scoring_that_was_killed_goes_on_where_it_stopped(repository: Path, tmp_path: Path) -> None:
    images = np.tile(kit.digits()[0][:1000], (40, 1, 1))
    source, output = write_npy(tmp_path, images), tmp_path / "out"
    process = subprocess.Popen(command(repository, source, output, block=500))
    wait_until(lambda: len(list(output.glob("part-*.parquet"))) >= 3, process)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(worker.is_running() and worker.status() != "zombie" for worker in workers))
    finished = {path: path.stat().st_mtime_ns for path in output.glob("part-*.parquet")}
    assert len(finished) < 80
    refused = score(repository, source, output, "--version", "1", "--block", "500", check=False)
    assert "was begun with a different version, sha256 (version 2, blocks of 500 rows)" in refused.stderr
    done = score(repository, source, output, "--block", "500")
    assert "40,000 rows in 80 files" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    found = pq.read_table(output, columns=["row", "confidence"])
    assert found["row"].to_pylist() == list(range(40_000))
    expected = kit.untrained(2).probabilities(images).max(1)
    np.testing.assert_allclose(found["confidence"].to_numpy(), expected, atol=1e-5)


@pytest.mark.long
def test_a_dask_cluster_scores_as_processes_do_and_outlives_a_worker(repository: Path, tmp_path: Path) -> None:
    images = np.tile(kit.digits()[0][:1000], (20, 1, 1))
    source, output = write_npy(tmp_path, images), tmp_path / "out"
    with dask_cluster(2) as cluster:
        chosen = ("--block", "500", "--scheduler", cluster.address)
        process = subprocess.Popen([*command(repository, source, output), *chosen], stdout=subprocess.PIPE, text=True)
        wait_until(lambda: len(list(output.glob("part-*.parquet"))) >= 2, process)
        cluster.workers[0].kill()
        printed, _ = process.communicate()
        assert "20,000 rows in 40 files" in printed
        cluster.workers[1].kill()
        cluster.workers[1].wait()
        refused = score(repository, source, tmp_path / "other", *chosen, check=False)
        assert "has no workers" in refused.stderr
    found = pq.read_table(output, columns=["row", "confidence"])
    assert found["row"].to_pylist() == list(range(20_000))
    np.testing.assert_allclose(found["confidence"].to_numpy(), kit.untrained(2).probabilities(images).max(1), atol=1e-5)
    gone = score(repository, source, tmp_path / "other", *chosen, check=False)
    (line,) = gone.stderr.splitlines()
    assert "no Dask scheduler answers" in line


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    with tracking_server.s3_server() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield environment


@pytest.mark.long
def test_input_and_output_in_s3(repository: Path, tmp_path: Path, s3: dict[str, str]) -> None:
    import boto3

    images = kit.digits()[0][:ROWS]
    client = boto3.client("s3")
    client.upload_file(str(write_npz(tmp_path, images)), tracking_server.BUCKET, "in/images.npz")
    bucket = f"s3://{tracking_server.BUCKET}"
    done = score(repository, f"{bucket}/in/images.npz", f"{bucket}/out")
    assert f"{ROWS} rows in 3 files" in done.stdout
    again = score(repository, f"{bucket}/in/images.npz", f"{bucket}/out")
    assert f"{ROWS} rows in 3 files" in again.stdout
    names = [entry["Key"] for entry in client.list_objects_v2(Bucket=tracking_server.BUCKET, Prefix="out/")["Contents"]]
    assert [name for name in names if "part" in name] == [f"out/part-{number:06}.parquet" for number in range(3)]


def test_rows_of_lists_that_do_not_fit_have_an_error(repository: Path, tmp_path: Path) -> None:
    images = kit.digits()[0][:6].reshape(6, -1).astype(int).tolist()
    lists = [images[0], images[1][:700], images[2] + images[3][:84], None, [300, *images[4][1:]], images[5]]
    nested = [[row[start : start + 28] for start in range(0, 784, 28)] for row in (images[0], images[5])]
    nested[0][0], nested[0][1] = nested[0][0][:27], [0, *nested[0][1]]
    (tmp_path / "lists").mkdir()
    pq.write_table(pa.table({"images": lists}), tmp_path / "lists/1.parquet")
    pq.write_table(pa.table({"image": nested}), tmp_path / "lists/2.parquet")
    done = score(repository, tmp_path / "lists", tmp_path / "out")
    assert "5 rows have no prediction" in done.stderr
    found = pq.read_table(tmp_path / "out")
    assert found["error"].to_pylist() == [
        None,
        "the row has 700 numbers, but the model needs [28, 28]",
        "the row has 868 numbers, but the model needs [28, 28]",
        "the row contains null",
        "the row has numbers that UINT8 cannot represent",
        None,
        "the lists of the row have other lengths than [28, 28]",
        None,
    ]
    expected = kit.untrained(2).probabilities(kit.digits()[0][[0, 5, 5]])
    answered = [row for row in found["probabilities"].to_pylist() if row is not None]
    np.testing.assert_allclose(answered, expected, atol=1e-5)


def test_an_output_below_its_input_can_be_resumed(repository: Path, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path, kit.digits()[0][:3])
    for _ in range(2):
        assert "3 rows in 1 file in " in score(repository, pictures, pictures / "scored").stdout
    refused = score(repository, pictures, tmp_path / "out", check=False)
    assert "has images and Parquet files, such as" in refused.stderr


def test_the_suffix_of_an_array_may_be_in_capitals(repository: Path, tmp_path: Path) -> None:
    source = write_npy(tmp_path, kit.digits()[0][:3]).rename(tmp_path / "IMAGES.NPY")
    assert "3 rows in 1 file in " in score(repository, source, tmp_path / "out").stdout


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (np.zeros((0, 28, 28), np.uint8), "has no rows"),
        (np.zeros((3, 20, 20), np.uint8), "the model needs UINT8 [-1, 28, 28]"),
        (np.zeros((3, 28, 28), np.float64), "holds float64 [3, 28, 28]"),
        (b"rubbish", "is not an array of NumPy"),
    ],
)
def test_what_cannot_be_scored_is_one_line(repository: Path, tmp_path: Path, content: Any, message: str) -> None:
    source = tmp_path / "images.npy"
    if isinstance(content, bytes):
        source.write_bytes(content)
    elif content is not None:
        np.save(source, content)
    done = score(repository, source, tmp_path / "out", check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line
