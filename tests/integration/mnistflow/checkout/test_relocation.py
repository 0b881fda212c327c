"""`var/` that was copied or moved works where it is, and leaves the original alone."""

import json
import logging
import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from checkouts import Checkout, make_checkout
from mlflow import MlflowClient
from PIL import Image, ImageDraw

from mnistflow import files
from mnistflow.checkout import relocation
from mnistflow.errors import RegistryError
from mnistflow.paths import Paths

pytestmark = [pytest.mark.slow, pytest.mark.long]

NAME = "digits-classifier"
STORE = "var/mlflow/mlflow.db"
QUICKEST = {"train.epochs": "1", "tune.trials": "0", "train.learning_rate": "0.0002"}


def snapshot(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Return mode, time and hash of each file and folder."""
    found = {}
    for path in folder.rglob("*"):
        known = path.lstat()
        found[str(path.relative_to(folder))] = (
            known.st_mode,
            known.st_mtime_ns,
            files.sha256(path) if path.is_file() else "",
        )
    return found


@contextmanager
def renamed_away(folder: Path) -> Iterator[None]:
    elsewhere = folder.rename(folder.with_name("renamed"))
    try:
        yield
        assert not folder.exists()
    finally:
        elsewhere.rename(folder)


def versions(checkout: Checkout) -> dict[int, str]:
    """Return the run of each registered version."""
    return dict(checkout.query("select version, run_id from model_versions where name = ?", NAME))


def test_var_in_another_clone_works_alone_and_never_writes_into_the_original(
    retrained: Checkout, tmp_path: Path, prefect_api: str
) -> None:
    before, known = snapshot(retrained.folder), versions(retrained)
    clone = make_checkout(tmp_path / "another clone", PREFECT_API_URL=prefect_api)
    shutil.copyfile(retrained.folder / "params.yaml", clone.folder / "params.yaml")
    shutil.rmtree(clone.folder / "var")
    shutil.copytree(retrained.folder / "var", clone.folder / "var", symlinks=True)
    (line,) = clone.run("status").stderr.splitlines()
    assert line.startswith(f"var/ was moved from {retrained.folder} to {clone.folder}: ")
    assert clone.run("status").stderr == ""
    clone.run("retrain", **QUICKEST)
    (added,) = versions(clone).keys() - known.keys()
    assert snapshot(retrained.folder) == before
    with renamed_away(retrained.folder):
        now = json.loads(clone.run("status", "--json").stdout)
        assert now["model_repository"] == str(clone.folder / "var/models" / NAME)
        assert {row["version"] for row in json.loads(clone.run("leaderboard", "--json").stdout)} >= {1, added}
        assert "unchanged" in clone.run("retrain").stdout
        versions_are_published_from_their_artifacts(clone, now["champion"]["version"], added)
        artifacts_can_be_downloaded(clone)
        assert "one.png: " in clone.run("predict", str(picture_of_a_one(tmp_path / "one.png"))).stdout
        dvc_has_everything(clone)


def picture_of_a_one(path: Path) -> Path:
    picture = Image.new("L", (28, 28))
    ImageDraw.Draw(picture).line((14, 4, 14, 24), fill=255, width=3)
    picture.save(path)
    return path


def versions_are_published_from_their_artifacts(checkout: Checkout, champion: int, other: int) -> None:
    for number in (other, champion):
        shutil.rmtree(checkout.folder / "var/models" / NAME / str(number), ignore_errors=True)
        checkout.run("promote", str(number))
        assert (checkout.folder / "var/models" / NAME / str(number) / "model.onnx").is_file()


def artifacts_can_be_downloaded(checkout: Checkout) -> None:
    store = MlflowClient(f"sqlite:///{checkout.folder}/{STORE}")
    for number, run_id in versions(checkout).items():
        assert Path(store.download_artifacts(run_id, "params.yaml")).is_file()
        assert store.get_model_version_download_uri(NAME, str(number)).startswith(checkout.folder.as_uri())


def dvc_has_everything(checkout: Checkout) -> None:
    assert "Running stage" not in checkout.tool("dvc", "repro")
    for folder in ("var/trained", "var/dvc/cache"):
        shutil.rmtree(checkout.folder / folder)
    checkout.tool("dvc", "pull")
    assert (checkout.folder / "var/trained/training.json").is_file()
    assert "up to date" in checkout.tool("dvc", "status")


def moved_store(original: Path, checkout: Path) -> Paths:
    """Copy MLflow's store without the note of its last place: as before there was one, or after a kill."""
    (checkout / STORE).parent.mkdir(parents=True)
    shutil.copyfile(original / STORE, checkout / STORE)
    return Paths(checkout, checkout)


def led_to(paths: Paths) -> set[Path]:
    """Return the checkouts that MLflow's store leads to."""
    with closing(sqlite3.connect(paths.checkout / STORE)) as store:
        uris = [uri for (uri,) in store.execute("select artifact_uri from runs")]
    return {Path(unquote(urlsplit(uri).path).partition("/var/mlflow/")[0]) for uri in uris}


def test_a_correction_that_was_killed_is_completed_even_inside_the_original(
    retrained: Checkout, tmp_path: Path
) -> None:
    first = moved_store(retrained.folder, tmp_path / "first")
    relocation.correct(first)
    assert led_to(first) == {first.checkout}
    inside = moved_store(first.checkout, first.checkout / "a copy, größer")
    for _ in range(2):
        relocation.correct(inside)
        assert led_to(inside) == {inside.checkout}
        (inside.mlflow / "location").write_text(str(first.checkout))
    assert led_to(first) == {first.checkout}


def test_of_commands_that_start_together_one_corrects(
    retrained: Checkout, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = moved_store(retrained.folder, tmp_path / "moved")
    with caplog.at_level(logging.WARNING), ThreadPoolExecutor(8) as pool:
        list(pool.map(relocation.correct, [paths] * 8))
    assert len(caplog.messages) == 1
    assert led_to(paths) == {paths.checkout}


def test_a_store_that_cannot_be_corrected_is_not_used(retrained: Checkout, tmp_path: Path) -> None:
    paths = moved_store(retrained.folder, tmp_path / "moved")
    (paths.mlflow / "mlflow.db.lock").mkdir()
    for _ in range(2):
        with pytest.raises(RegistryError, match="cannot be corrected to point to"):
            relocation.correct(paths)
