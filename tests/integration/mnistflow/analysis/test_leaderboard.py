"""Leaderboard and side-by-side comparison on a real MLflow store in SQLite."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import stores
from configured import configured
from mlflow import MlflowClient

from mnistflow.analysis import leaderboard, side_by_side
from mnistflow.analysis.leaderboard import Filters, Limits
from mnistflow.errors import ConfigError, RegistryError
from mnistflow.paths import Paths
from mnistflow.registry import versions
from mnistflow.tracking import runs

pytestmark = pytest.mark.slow

NAME = versions.model_name("digits")
LATENCIES = {"forest": 0.2}  # in milliseconds


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A full run, one with less data and fewer epochs, one of another family, and one in another experiment."""
    folder = tmp_path_factory.mktemp("leaderboard")
    stores.copy_mlflow(folder)
    paths = Paths(folder, folder)
    with configured(paths):
        MlflowClient().create_registered_model(NAME)
        log(paths, "full", 0.95, {}, {"data.test_examples": 360})
        fewer = {runs.OVERRIDES: '{"train.epochs": [8, 2], "model.mlp.units": [[128], [64]]}', runs.FULL_EPOCHS: "8"}
        log(paths, "partial", 0.9, fewer, {"train.epochs": 2, "prepare.train_limit": 5000})
        log(paths, "forest", 0.8, {runs.PRESET: "trees"}, {"model.family": "forest"})
        log(paths, "elsewhere", 0.7, {}, {}, experiment="mine")
        log(paths, "of other data", 0.99, {"mnistflow.dataset": "mnist"}, {}, experiment="mine")
        yield


def log(
    paths: Paths,
    name: str,
    accuracy: float,
    tags: dict[str, str],
    parameters: dict[str, object],
    experiment: str = "digits",
) -> None:
    run = runs.start(paths, experiment, name, "retrain", tags={"mnistflow.dataset": "digits", **tags})
    run.log_params({"model.family": "mlp", "train.epochs": 8, "prepare.train_limit": None, **parameters})
    run.log_metrics({"test_accuracy": accuracy, "test_errors": round(360 * (1 - accuracy)), "test_loss": 0.1})
    run.log_metrics({"latency_ms_batch_1": LATENCIES.get(name, 1.0), "file_megabytes": 0.5})
    run.finish()
    model = {"task": "image_classification", "metrics": {"accuracy": accuracy}, "sha256": name}
    MlflowClient().create_model_version(NAME, "file:///m", run.run_id, {"mnistflow.model": json.dumps(model)})


def names(**filters: Any) -> list[str]:
    return [row.name for row in leaderboard.rank("digits", Filters(**filters))]


def test_rows_name_overrides_and_what_they_left_out() -> None:
    full, partial, forest = leaderboard.rank("digits")
    assert (full.name, full.overrides, full.partial, full.version) == ("full", {}, (), 1)
    assert partial.overrides == {"train.epochs": 2, "model.mlp.units": [64]}
    assert partial.partial == ("train_limit 5,000", "2 of 8 epochs")
    assert forest.preset == "trees"


def test_runs_are_filtered() -> None:
    started = leaderboard.rank("digits")[1].started_ms
    assert names(family="forest") == ["forest"]
    assert names(tags={runs.FULL_EPOCHS: "8"}) == ["partial"]
    assert names(since_ms=started) == ["partial", "forest"]
    assert names(since_ms=started, family="mlp", limit=1) == ["partial"]
    assert names(experiment="mine") == ["elsewhere"]
    with pytest.raises(ConfigError, match="no experiment 'none'"):
        names(experiment="none")


def test_columns_are_attributes_metrics_parameters_and_tags() -> None:
    rows = leaderboard.rank("digits")
    columns = ("name", "score", "test_loss", "train.epochs", "tags.mnistflow.full_epochs")
    leaderboard.check_columns(columns, rows)
    assert list(rows[1].to_json(columns).values()) == ["partial", 0.9, 0.1, "2", "8"]
    json.dumps([row.to_json(leaderboard.COLUMNS) for row in rows])
    with pytest.raises(ConfigError, match="no run has a column 'speed'"):
        leaderboard.check_columns(["speed"], rows)


def test_versions_side_by_side_have_intervals_and_parameters_that_differ() -> None:
    found = side_by_side.compare(NAME, [2, 1, 2])
    assert [run.name for run in found.runs] == ["partial", "full"]
    partial, full = found.metrics["test_accuracy"]
    assert partial and full
    assert partial.interval == pytest.approx((0.8648, 0.9270), abs=5e-4)  # of 360, which follow from the errors
    assert full.interval == pytest.approx((0.9223, 0.9681), abs=5e-4)
    assert found.parameters == {
        "data.test_examples": ("", "360"),
        "prepare.train_limit": ("5000", "None"),
        "train.epochs": ("2", "8"),
    }


def test_versions_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(RegistryError, match="two versions at least"):
        side_by_side.compare(NAME, [1, 1])
    with pytest.raises(RegistryError, match="has no version 9"):
        side_by_side.compare(NAME, [1, 9])


def test_the_pareto_front_has_the_best_and_the_fastest_full_runs() -> None:
    assert [(row.name, row.pareto) for row in leaderboard.rank("digits")] == [
        ("full", True),
        ("partial", False),
        ("forest", True),
    ]


def test_the_best_version_within_limits_is_recommended() -> None:
    rows = leaderboard.rank("digits")
    assert leaderboard.recommend(rows, Limits()).name == "full"
    assert leaderboard.recommend(rows, Limits(max_ms=0.5, min_accuracy=0.8)).name == "forest"
    for limits in (Limits(max_ms=0.5, min_accuracy=0.9), Limits(max_megabytes=0.1), Limits(min_robust=0.5)):
        with pytest.raises(RegistryError, match="none of 2 versions is within these limits"):
            leaderboard.recommend(rows, limits)
    with pytest.raises(RegistryError, match="no version of a full run is registered"):
        leaderboard.recommend([], Limits())
