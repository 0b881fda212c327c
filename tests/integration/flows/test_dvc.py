"""The commands of docs/how-to/coming-from-dvc.md, as printed there, in a checkout after a retraining."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import session_guard
from checkouts import ROOT, Checkout, copy_checkout, retrain_once, write_params
from waiting import wait_until

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs/how-to/coming-from-dvc.md"
AUTHOR = {f"GIT_{role}_{field}": "somebody" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")}
EXPERIMENT = "mlp epochs=2 tune.trials=0"
EDIT = "# set train.epochs: 2 and tune.trials: 0 in params.yaml"  # a line of the page that readers do by hand
QUEUED = {"three-epochs": "3", "four-epochs": "4"}  # numbers of epochs


def commands(heading: str) -> list[str]:
    """Return the commands of the first block below a heading of the page."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1]
    blocks: list[str] = re.findall(r"^```\n(.*?)^```$", section.split("\n## ")[0], re.DOTALL | re.MULTILINE)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Iterator[Checkout]:
    """A retrained checkout whose params.yaml is not committed yet."""
    original = session_guard.shared("retrained", retrain_once)
    made = copy_checkout(original / "checkout", tmp_path_factory.mktemp("dvc") / "checkout")
    made.tool("git", "branch", "-m", "main")
    with closing(Checkout(made.folder, {**made.environment, **AUTHOR, "PREFECT_API_URL": prefect_api})) as copied:
        yield copied


def execute(checkout: Checkout, heading: str) -> str:
    """Execute the commands below a heading in one shell, and return what they print."""
    return checkout.tool("sh", "-ec", "\n".join(commands(heading)))


def accuracy(folder: Path, checkout: Checkout) -> float | None:
    """Return the accuracy that `dvc metrics show` prints; None without one."""
    shown = subprocess.run(
        ["dvc", "metrics", "show", "--json"], cwd=folder, env=checkout.environment, capture_output=True, check=False
    )
    metrics = json.loads(shown.stdout or b"{}").get("", {}).get("data", {})
    value: float | None = metrics.get("var/reports/evaluate/metrics.json", {}).get("data", {}).get("accuracy")
    return value


def of_version(checkout: Checkout, number: int) -> float:
    """Return the accuracy of a published version."""
    described = json.loads((checkout.folder / f"var/models/digits-classifier/{number}/model.json").read_text())
    return float(described["metrics"]["accuracy"])


def evaluated(checkout: Checkout) -> dict[str, Any]:
    """Return the rows of the leaderboard by name."""
    return {row["name"]: row for row in json.loads(checkout.run("leaderboard", "--json").stdout)}


def outputs(checkout: Checkout, *options: str) -> dict[str, Any]:
    """Return what `mnistflow status` shows of the outputs in the checkout."""
    found: dict[str, Any] = json.loads(checkout.run("status", "--json", *options).stdout)["outputs"]
    return found


def test_dvc_finds_all_of_a_retraining(checkout: Checkout) -> None:
    shown = execute(checkout, "After a retraining")
    assert "Data and pipelines are up to date." in shown
    assert outputs(checkout)["mismatch"] is None
    assert outputs(checkout, "--dataset", "mnist")["mismatch"] == "they are of digits"
    assert "evaluate" in shown
    assert "top_2_accuracy" in shown
    page = (checkout.folder / "dvc_plots/index.html").read_text()
    assert "val_loss" in page
    assert "confusion" in page
    assert accuracy(checkout.folder, checkout) == of_version(checkout, 1)
    assert "Running stage" not in checkout.tool("dvc", "repro")


def test_a_lock_that_would_not_belong_to_its_commit_is_refused_before_the_run(checkout: Checkout) -> None:
    refused = checkout.run("retrain", "--commit", check=False)
    assert refused.returncode == 1
    assert "--commit: params.yaml differs from the last commit" in refused.stderr.splitlines()[-1]
    refused = checkout.run("retrain", "--commit", check=False, **{"train.epochs": "2"})
    assert "--commit: a run with overrides does not change dvc.lock" in refused.stderr.splitlines()[-1]


def test_the_lock_is_committed_alone(checkout: Checkout) -> None:
    checkout.tool("git", "commit", "-qam", "Quick settings")
    checkout.tool("git", "tag", "unlocked")
    (checkout.folder / "notes.md").write_text("staged\n")
    checkout.tool("git", "add", "notes.md")
    shown = execute(checkout, "Commit a result")
    (subject,) = re.findall(r"^ +(digits-classifier version 1: mlp, .+)$", shown, re.MULTILINE)
    assert f"{accuracy(checkout.folder, checkout):.2%}" in subject.replace(" %", "%")
    assert checkout.tool("git", "show", "--format=", "--name-only", "HEAD") == "dvc.lock\n"
    assert checkout.tool("git", "status", "--porcelain") == "A  notes.md\n"
    checkout.tool("git", "commit", "-qm", "Notes")


@pytest.mark.long
def test_experiments_of_dvc_are_runs_in_mlflow(checkout: Checkout) -> None:
    """The experiment runs in a temporary folder, and its model is registered by a retraining that finds it done."""
    lines = commands("Experiments")
    edit = lines.index(EDIT)
    shown = checkout.tool("sh", "-ec", "\n".join(lines[:edit]))
    write_params(checkout, **{"train.epochs": "2", "tune.trials": "0"})
    shown += checkout.tool("sh", "-ec", "\n".join(lines[edit:]))
    assert "two-epochs" in shown
    assert "2 of 8 epochs" in shown
    row = evaluated(checkout)[EXPERIMENT]
    narrow = checkout.tool("script", "-qec", "stty cols 60; mnistflow leaderboard", "/dev/null")
    assert all(text in narrow for text in (f"{row['score']:.2%}", "epochs=2", "tune.trials=0", "challenger"))
    tags = dict(checkout.query("select key, value from tags where run_uuid = ?", row["run_id"]))
    parameters = dict(checkout.query("select key, value from params where run_uuid = ?", row["run_id"]))
    assert tags["mnistflow.dvc_experiment"] == "two-epochs"
    assert tags["mlflow.source.name"] == "dvc exp run"
    assert parameters["train.epochs"] == "2"
    assert row["score"] == accuracy(checkout.folder, checkout)  # of the experiment, whose model is in the checkout now
    assert ("stage",) not in checkout.query("select distinct value from tags where key = 'mnistflow.kind'")
    assert checkout.query("select count(*) from model_versions") == [(2,)]
    assert checkout.tool("git", "status", "--short", "--branch") == "## shorter\n"


@pytest.mark.long
def test_queued_experiments_are_runs_in_mlflow(checkout: Checkout) -> None:
    """The worker of the queue outlives the command that starts it."""
    execute(checkout, "The queue")
    evaluations = (
        "select 1 from latest_metrics join tags using (run_uuid) where latest_metrics.key = 'test_accuracy'"
        " and tags.key = 'mnistflow.dvc_experiment' and tags.value in ('three-epochs', 'four-epochs')"
    )
    wait_until(lambda: len(checkout.query(evaluations)) == len(QUEUED))
    wait_until(lambda: checkout.tool("dvc", "queue", "status").count("Success") == len(QUEUED))
    checkout.tool("dvc", "queue", "stop")
    ranked = evaluated(checkout)
    first = "select key, value from params join model_versions on run_uuid = run_id where version = 1"
    retrained = dict(checkout.query(first))
    for name, epochs in QUEUED.items():
        row = ranked[f"mlp epochs={epochs}"]  # a search is none of the branch's either
        tags = dict(checkout.query("select key, value from tags where run_uuid = ?", row["run_id"]))
        parameters = dict(checkout.query("select key, value from params where run_uuid = ?", row["run_id"]))
        assert (tags["mnistflow.dvc_experiment"], tags["mlflow.source.name"]) == (name, "dvc exp run")
        assert parameters["train.epochs"] == epochs
        assert parameters.keys() == retrained.keys()
    assert all(name in checkout.tool("dvc", "exp", "show", "--csv") for name in QUEUED)
    assert checkout.tool("git", "status", "--short", "--branch") == "## shorter\n"


@pytest.mark.long
def test_figures_of_experiments_follow_the_branch(checkout: Checkout) -> None:
    """By DVC's hooks; without them, `status` shows no figure of the branch that was left."""
    of_experiment = accuracy(checkout.folder, checkout)
    assert outputs(checkout)["mismatch"] is None
    checkout.tool("git", "switch", "-q", "main")
    assert outputs(checkout)["quality"] is None
    assert "is not what dvc.lock describes" in outputs(checkout)["mismatch"]
    checkout.tool("git", "switch", "-q", "shorter")
    execute(checkout, "Branches")
    first = of_version(checkout, 1)
    assert accuracy(checkout.folder, checkout) == first != of_experiment
    assert "up to date" in checkout.tool("dvc", "status")
    subprocess.run(
        ["git", "switch", "-q", "--detach", "unlocked"], cwd=checkout.folder, env=checkout.environment, check=False
    )
    assert accuracy(checkout.folder, checkout) is None
    checkout.tool("git", "switch", "-q", "main")
    assert accuracy(checkout.folder, checkout) == first


@pytest.mark.long
def test_a_stage_of_dvc_repro_is_recorded_with_what_it_read(checkout: Checkout) -> None:
    checkout.tool("dvc", "repro", "--force", "--single-item", "evaluate")
    statement = "select run_uuid from tags where key = 'mlflow.source.name' and value = 'dvc repro'"
    ((run,),) = checkout.query(statement)
    ((name, state),) = checkout.query("select name, status from runs where run_uuid = ?", run)
    assert (name, state) == ("mlp", "FINISHED")
    assert checkout.query("select count(*) from metrics where run_uuid = ? and key = 'val_loss'", run) != [(0,)]
    assert run in {row["run_id"] for row in json.loads(checkout.run("leaderboard", "--json").stdout)}


def test_a_fresh_clone_pulls_data_model_and_figures(checkout: Checkout) -> None:
    checkout.tool("git", "checkout", "-q", "dvc.lock")
    shown = execute(checkout, "A fresh clone")
    clone = checkout.folder.parent / "clone"
    assert "Data and pipelines are up to date." in shown
    assert accuracy(clone, checkout) == of_version(checkout, 1)
    assert (clone / "var/exported/model.onnx").is_file()
