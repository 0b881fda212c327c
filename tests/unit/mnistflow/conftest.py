"""A tiny project on scikit-learn's digits, made by the real stages."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkouts import ROOT, TINY

from mnistflow import config, environment, splits
from mnistflow.config import Config
from mnistflow.data import fetch, prepare
from mnistflow.paths import Paths
from mnistflow.splits import Dataset


@pytest.fixture(scope="session")
def settings() -> Config:
    return config.load(ROOT / "params.yaml").with_values(TINY)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, settings: Config) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    paths = Paths(folder, folder)
    fetch.fetch(paths, settings.fetch)
    prepare.prepare(paths, settings.prepare)
    return folder


@pytest.fixture(scope="session")
def digits(prepared: Path) -> Dataset:
    return splits.load(Paths(prepared, prepared).prepared)


@pytest.fixture
def paths(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Paths]:
    """A copy of the prepared project with stores of its own."""
    shutil.copytree(prepared, tmp_path / "home")
    paths = Paths(tmp_path / "home", tmp_path / "home")
    for name in environment.DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    environment.configure(paths)
    yield paths
    for name in environment.DEFAULTS:
        os.environ.pop(name, None)
