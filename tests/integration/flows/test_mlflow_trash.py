"""Retrainings of a checkout whose champion's run, or whose experiment, somebody has deleted in MLflow."""

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from checkouts import Checkout, copy_checkout
from mlflow import MlflowClient

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("retrained")]

NAME = "digits-classifier"
OTHER = {"train.epochs": "1", "tune.trials": "0", "prepare.train_limit": "200"}


@pytest.fixture
def checkout(retrained: Checkout, prefect_api: str, tmp_path: Path) -> Checkout:
    copy = copy_checkout(retrained.folder, tmp_path / "checkout")
    return replace(copy, environment={**copy.environment, "PREFECT_API_URL": prefect_api})


def test_a_deleted_run_stops_no_retraining_and_a_deleted_experiment_is_named(checkout: Checkout) -> None:
    client = MlflowClient(f"sqlite:///{checkout.folder}/var/mlflow/mlflow.db")
    champion = client.get_run(client.get_model_version(NAME, "1").run_id).info
    client.delete_run(champion.run_id)
    assert "unchanged: " in checkout.run("retrain").stdout  # it reproduces the champion
    checkout.run("retrain", **OTHER)
    assert client.get_model_version(NAME, "2").tags["mnistflow.decision"] in ("hold", "reject")

    client.delete_experiment(champion.experiment_id)
    refused = checkout.run("retrain", check=False, **{**OTHER, "train.seed": "9"})
    message = refused.stderr.splitlines()[-1]
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert "experiment digits was deleted in MLflow, with its runs" in message
    command = shlex.split(message.split("`")[1])
    subprocess.run(["env", *command], env=checkout.environment, check=True)
    assert client.get_experiment_by_name("digits").lifecycle_stage == "active"
