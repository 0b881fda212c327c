"""A checkout, or its `var/`, that was copied or moved works where it is, and leaves the original alone."""

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
from checkouts import Checkout, checkout_environment, make_checkout
from mlflow import MlflowClient
from PIL import Image

from mnistflow import files, relocation
from mnistflow.errors import RegistryError
from mnistflow.paths import Paths

pytestmark = pytest.mark.slow

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
    yield
    elsewhere.rename(folder)


def works(checkout: Checkout) -> None:
    """The commands that read MLflow's artifacts, DVC's cache or the model repository work in a checkout."""
    now = json.loads(checkout.run("status", "--json").stdout)
    champion, others = now["champion"]["version"], {version for (version,) in versions(checkout)}
    assert now["model_repository"] == str(checkout.folder / "var/models" / NAME)
    assert json.loads(checkout.run("leaderboard", "--json").stdout)
    assert "unchanged" in checkout.run("retrain").stdout
    for other in others - {champion}:
        shutil.rmtree(checkout.folder / "var/models" / NAME / str(other), ignore_errors=True)
        checkout.run("promote", str(other))  # publishes it, from its artifacts
        checkout.run("promote", str(champion))
    store = MlflowClient(f"sqlite:///{checkout.folder}/{STORE}")
    for version in others:
        run_id = store.get_model_version(NAME, str(version)).run_id
        downloaded = Path(store.download_artifacts(run_id, "params.yaml"))
        assert downloaded.is_relative_to(checkout.folder)
    picture = checkout.folder / "picture.png"
    Image.new("L", (28, 28)).save(picture)
    assert "picture.png: " in checkout.run("predict", str(picture)).stdout
    assert "Running stage" not in checkout.tool("dvc", "repro")
    shutil.rmtree(checkout.folder / "var/trained")
    shutil.rmtree(checkout.folder / "var/dvc/cache")
    checkout.tool("dvc", "pull")
    assert (checkout.folder / "var/trained/training.json").is_file()
    assert "up to date" in checkout.tool("dvc", "status")


def versions(checkout: Checkout) -> list[tuple[int]]:
    return checkout.query("select version from model_versions where name = ?", NAME)


def test_a_copy_works_alone_and_never_writes_into_the_original(retrained: Checkout, tmp_path: Path) -> None:
    before = snapshot(retrained.folder)
    shutil.copytree(retrained.folder, tmp_path / "a copy", symlinks=True)
    copy = Checkout(tmp_path / "a copy", checkout_environment())
    (line,) = copy.run("status").stderr.splitlines()
    assert line.startswith(f"var/ was moved from {retrained.folder} to {copy.folder}: ")
    assert copy.run("status").stderr == ""
    known = versions(copy)
    copy.run("retrain", **QUICKEST)
    assert len(versions(copy)) == len(known) + 1
    works(copy)
    assert snapshot(retrained.folder) == before
    with renamed_away(retrained.folder):
        works(copy)


def test_var_alone_moves_to_another_clone(retrained: Checkout, tmp_path: Path) -> None:
    clone = make_checkout(tmp_path / "clone")
    shutil.copyfile(retrained.folder / "params.yaml", clone.folder / "params.yaml")
    shutil.copytree(retrained.folder / "var", clone.folder / "var", symlinks=True)
    with renamed_away(retrained.folder):
        works(clone)


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
        with pytest.raises(RegistryError, match="cannot be corrected to lead to"):
            relocation.correct(paths)
