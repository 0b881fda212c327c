"""Addresses of the pages of MLflow's UI, and how commands find the UI that runs."""

import json
import shutil
from pathlib import Path
from urllib.parse import parse_qs

from mnistflow.paths import Paths
from mnistflow.tracking import mlflow_ui


def test_pages_are_those_of_model_training() -> None:
    assert mlflow_ui.runs_page("http://h:1", None) == "http://h:1/#/experiments?workflowType=machine_learning"
    page, _, query = mlflow_ui.runs_page("http://h:1", "7").partition("?")
    assert page == "http://h:1/#/experiments/7/runs"
    assert parse_qs(query) == {"workflowType": ["machine_learning"], "viewStateShareKey": ["leaderboard"]}


def test_a_comparison_names_each_run_and_experiment_once() -> None:
    page, _, query = mlflow_ui.comparison_page("http://h:1", ["a", "b"], ["7", "7"]).partition("?")
    found = parse_qs(query)
    assert page == "http://h:1/#/compare-runs"
    assert (json.loads(found["runs"][0]), json.loads(found["experiments"][0])) == (["a", "b"], ["7"])


def test_the_ui_that_runs_is_found_but_not_from_a_copy(tmp_path: Path) -> None:
    paths, copy = Paths(tmp_path / "a", tmp_path / "a"), Paths(tmp_path / "b", tmp_path / "b")
    assert mlflow_ui.address(paths, "sqlite:///x") == ("http://127.0.0.1:5000", False)
    mlflow_ui.record_address(paths, "http://127.0.0.1:5001")
    mlflow_ui.record_address(paths, "http://127.0.0.1:5002")
    assert mlflow_ui.address(paths, "sqlite:///x") == ("http://127.0.0.1:5002", True)
    shutil.copytree(paths.root, copy.root)
    assert mlflow_ui.address(copy, "sqlite:///x") == ("http://127.0.0.1:5000", False)
    assert mlflow_ui.address(paths, "https://mlflow.example.org/") == ("https://mlflow.example.org", True)
