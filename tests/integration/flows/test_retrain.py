"""The whole road, from raw data to the model that serves, as a user drives it."""

import getpass
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import psutil
import pytest
import receivers
import services
import waiting
import yaml
from checkouts import QUICK, Checkout, make_checkout, still_running, workers, write_params
from cluster import free_port, wait_for_port
from mlflow import MlflowClient
from waiting import wait_until

pytestmark = pytest.mark.slow

NAME = "digits-classifier"
MODEL = f"var/models/{NAME}"
WORSE = {"train.epochs": "1", "tune.trials": "0", "train.learning_rate": "0.0001"}


@pytest.fixture(scope="module")
def webhook() -> Iterator[receivers.Webhook]:
    with receivers.webhook() as started:
        yield started


@pytest.fixture(scope="module")
def reporting(retrained: Checkout, prefect_api: str, webhook: receivers.Webhook) -> Checkout:
    """The retrained checkout with a Prefect API that outlasts each of its runs, and a receiver of notifications."""
    own = {"PREFECT_API_URL": prefect_api, "MNISTFLOW_NOTIFY_WEBHOOK": webhook.url}
    return replace(retrained, environment={**retrained.environment, **own})


def status(checkout: Checkout) -> Any:
    return json.loads(checkout.run("status", "--json").stdout)


def leaderboard(checkout: Checkout, *options: str) -> Any:
    return json.loads(checkout.run("leaderboard", "--json", *options).stdout)


def registered(checkout: Checkout) -> dict[int, str]:
    """Return the run of each registered version."""
    return dict(checkout.query("select version, run_id from model_versions"))


def champion(checkout: Checkout) -> int:
    return int((checkout.folder / MODEL / "champion").read_text())


def probe_is_reproduced(version: Path) -> bool:
    session = onnxruntime.InferenceSession((version / "model.onnx").read_bytes())
    with np.load(version / "probe.npz") as probe:
        return bool(np.allclose(session.run(None, {"images": probe["inputs"]})[0], probe["outputs"], atol=1e-4))


def test_a_retraining_ends_with_a_champion_that_can_be_served(retrained: Checkout) -> None:
    now = status(retrained)
    version = retrained.folder / MODEL / "1"
    assert now["dataset"] == "digits"
    assert now["champion"]["version"] == 1
    assert (retrained.folder / MODEL / "champion").read_text().strip() == "1"
    assert now["model_repository"] == str(retrained.folder / MODEL)
    assert probe_is_reproduced(version)
    described = json.loads((version / "model.json").read_text())
    assert described["run_id"] == now["champion"]["run_id"]
    assert described["metrics"]["accuracy"] == now["champion"]["accuracy"]
    assert now["outputs"] == {"dataset": "digits", "quality": now["champion"]["quality"], "mismatch": None}
    metadata = onnxruntime.InferenceSession((version / "model.onnx").read_bytes()).get_modelmeta().custom_metadata_map
    assert metadata["dataset"] == "digits"
    assert metadata["data_sha256"] == described["data_sha256"]


def test_git_sees_only_the_lock_of_a_retraining(retrained: Checkout) -> None:
    changed = retrained.tool("git", "status", "--porcelain").splitlines()
    assert changed == [" M params.yaml", "?? dvc.lock"]  # params.yaml: this test's own settings


def test_every_trial_and_epoch_is_in_mlflow(retrained: Checkout) -> None:
    run = registered(retrained)[1]
    tags = dict(retrained.query("select key, value from tags where run_uuid = ?", run))
    trials = "select t.run_uuid from tags p join tags t on p.run_uuid = t.run_uuid and t.key = 'mnistflow.kind'"
    children = retrained.query(f"{trials} where p.key = 'mlflow.parentRunId' and p.value = ?", run)
    steps = retrained.query("select step from metrics where run_uuid = ? and key = 'val_loss'", run)
    names = {key for (key,) in retrained.query("select key from latest_metrics where run_uuid = ?", run)}
    joined = "select name from datasets join inputs on source_id = dataset_uuid where destination_id = ?"
    data = retrained.query(joined, run)
    ((state,),) = retrained.query("select status from runs where run_uuid = ?", run)
    assert tags["mnistflow.kind"] == "retrain"
    assert (tags["mlflow.user"], tags["mnistflow.host"]) == (getpass.getuser(), socket.gethostname())
    assert tags["mlflow.source.name"] == "mnistflow retrain"
    assert tags["mlflow.source.git.commit"].startswith(retrained.tool("git", "rev-parse", "HEAD").strip())
    assert retrained.query("select user_id from runs where run_uuid = ?", run) == [(getpass.getuser(),)]
    assert len(children) == 2
    assert sorted(steps) == [(epoch,) for epoch in range(1, len(steps) + 1)]
    assert {
        "test_accuracy",
        "best_val_loss",
        "best_epoch",
        "latency_ms_batch_1",
        "test_recall.3",
        "test_robust_accuracy.blur.2",
    } <= names
    assert any(name.startswith("system/") for name in names)
    assert data == [("digits",)]
    assert state == "FINISHED"


def test_the_run_keeps_what_is_needed_to_repeat_it(retrained: Checkout) -> None:
    run_id = registered(retrained)[1]
    artifacts = next((retrained.folder / "var/mlflow/artifacts").glob(f"**/{run_id}/artifacts"))
    kept = {str(path.relative_to(artifacts)) for path in artifacts.rglob("*") if path.is_file()}
    assert {
        "params.yaml",
        "dvc.lock",
        "environment.json",
        "probe.npz",
        "tune/trials.json",
        "reports/train/pictures/curves.png",
        "reports/evaluate/pictures/confusion.png",
        "reports/evaluate/pictures/mistakes.png",
        "reports/evaluate/pictures/robustness.png",
        "reports/evaluate/tables/classes.json",
        "reports/prepare/samples.png",
    } <= kept


def test_an_identical_retraining_is_recognised(reporting: Checkout) -> None:
    runs = "select run_uuid, status, end_time from runs where lifecycle_stage = 'active' order by run_uuid"
    before = registered(reporting), champion(reporting), reporting.query(runs)
    done = reporting.run("retrain")
    assert "unchanged" in done.stdout
    assert "when it was registered: no champion yet" in done.stdout
    assert (registered(reporting), champion(reporting), reporting.query(runs)) == before


@pytest.mark.long
def test_a_run_is_recorded_under_a_name_in_an_experiment_and_not_registered(reporting: Checkout) -> None:
    before = registered(reporting), champion(reporting), status(reporting)["last_run"]
    options = ("--name", "a try", "--note", "**why** it runs", "--experiment", "mine", "--no-register")
    output = reporting.run("retrain", *options).stdout
    assert "evaluated, not registered: a try, test accuracy" in output
    ((run, state),) = reporting.query(
        "select run_uuid, status from runs join experiments using (experiment_id)"
        " where runs.name = 'a try' and experiments.name = 'mine'"
    )
    tags = dict(reporting.query("select key, value from tags where run_uuid = ?", run))
    assert (state, tags["mlflow.note.content"]) == ("FINISHED", "**why** it runs")
    assert "mnistflow.registers" not in tags
    assert reporting.query("select value from latest_metrics where run_uuid = ? and key = 'test_accuracy'", run)
    assert f"MLflow run {run}" in output
    assert (registered(reporting), champion(reporting), status(reporting)["last_run"]) == before


def test_presets_are_listed_with_what_they_override(retrained: Checkout) -> None:
    shown = retrained.run("presets").stdout
    names = yaml.safe_load((retrained.folder / "params.yaml").read_text())["presets"]
    assert all(f" {name} " in shown for name in names)
    assert 'model.family="cnn", model.cnn.auto_levels=false,' in shown


def test_a_failing_stage_names_itself_its_log_and_the_way_on(reporting: Checkout, webhook: receivers.Webhook) -> None:
    before = registered(reporting)
    done = reporting.run("retrain", check=False, **WORSE, **{"export.max_probability_gap": "1e-12"})
    error = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert "stage export failed" in error
    assert done.stderr.count("stage export failed") == 1
    assert "Retry" not in done.stderr  # a wrong parameter stays wrong
    assert "logs/export.log" in error
    assert "run the same command again" in error
    assert "Traceback" not in done.stderr
    assert registered(reporting) == before
    assert champion(reporting) == 1
    assert webhook.texts[-1].startswith("failed: stage export failed")


def test_two_retrainings_with_other_parameters_at_the_same_time(
    reporting: Checkout, prefect_api: str, webhook: receivers.Webhook
) -> None:
    """One of them goes on where a stage has failed: what was finished then is not run again."""
    parameters, known = (reporting.folder / "params.yaml").read_bytes(), registered(reporting)
    with ThreadPoolExecutor(2) as pool:
        chosen = (WORSE, {"train.seed": "2", "tune.trials": "0"})
        ended = list(pool.map(lambda values: reporting.run("retrain", **values), chosen))
    assert ["train: unchanged" in run.stderr for run in ended] == [True, False]
    assert (reporting.folder / "params.yaml").read_bytes() == parameters
    assert len(registered(reporting)) == len(known) + 2
    now = status(reporting)
    assert now["serving"] == now["champion"]["version"] == champion(reporting)
    overrides = {"train.epochs": 1, "tune.trials": 0, "train.learning_rate": 0.0001}
    (worse,) = (row for row in leaderboard(reporting) if row["overrides"] == overrides)
    assert worse["partial"] == ["1 of 8 epochs"]
    for shown in (reporting.run("leaderboard").stdout, reporting.run("leaderboard", "--csv").stdout):
        assert "1 of 8 epochs" in shown
    assert leaderboard(reporting, "--family", "cnn") == leaderboard(reporting, "--since", "2999-01-01") == []
    chosen = leaderboard(reporting, "--tag", "mnistflow.full_epochs=8", "--columns", "run_id,train.epochs")
    assert chosen == [{"run_id": worse["run_id"], "train.epochs": "1"}]
    runs_have_one_name_in_both_tools_and_tags(reporting, prefect_api)
    assert any(text.startswith(f"rejected: {NAME} version") for text in webhook.texts)


def test_versions_are_compared_side_by_side(retrained: Checkout) -> None:
    worst = next(row["version"] for row in leaderboard(retrained) if row["decision"] == "reject")
    shown = retrained.run("compare", "1", str(worst)).stdout
    assert re.search(r"test_accuracy +│ +\d+\.\d\d% \(\d+\.\d\d–\d+\.\d\d%\)", shown)
    assert re.search(r"train\.learning_rate +│ +0\.01 │ +0\.0001", shown)
    assert "MLflow, once `mnistflow ui` runs: http://127.0.0.1:5000/#/compare-runs?runs=" in shown
    for wrong in (["1"], ["1", "99"], ["1", "one"]):
        refused = retrained.run("compare", *wrong, check=False)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)


def runs_have_one_name_in_both_tools_and_tags(checkout: Checkout, api: str) -> None:
    tags = {run["name"]: set(run["tags"]) for run in services.flow_runs(api)}
    for run_id in list(registered(checkout).values())[-2:]:
        ((name,),) = checkout.query("select name from runs where run_uuid = ?", run_id)
        assert {"dataset:digits", "family:mlp"} <= tags[name]
        assert {"verdict:rejected", "verdict:kept-as-challenger"} & tags[name]


def test_what_is_not_better_does_not_pass_and_a_promotion_by_hand_can_be_undone(
    retrained: Checkout, reporting: Checkout, webhook: receivers.Webhook
) -> None:
    now = status(retrained)
    challenger = now["challenger"]["version"]
    assert now["champion"]["version"] == 1
    assert now["challenger"]["decision"] == "hold"
    assert {row["version"] for row in leaderboard(retrained)} >= {1, challenger}
    rollout_is_asked_for_and_shown(retrained, challenger)
    because = ("--because", "the errors of version 1\nare the expensive ones")
    assert "the gate rejected it" not in retrained.run("promote", str(challenger), *because).stdout
    assert (retrained.folder / MODEL / "champion").read_text() == f"{challenger}\n"
    assert not (retrained.folder / MODEL / "rollout.json").exists()
    now = status(retrained)
    assert now["previous"]["version"] == 1
    person = f"{getpass.getuser()}@{socket.gethostname()}"
    promoted = f"became champion by hand ({person}): the errors of version 1 are the expensive ones"
    assert now["champion"]["history"][-1].endswith(promoted)
    reporting.run("rollback")
    assert champion(retrained) == 1
    assert webhook.texts[-1].startswith(f"withdrawn: {NAME} version {challenger}: version 1 serves again")
    first, *_, last = status(retrained)["champion"]["history"]
    assert f"became champion by gate ({person}): no champion yet" in first
    assert last.endswith(f"became champion by rollback ({person})")
    assert status(retrained)["challenger"]["version"] == challenger
    changes = json.loads(retrained.run("history", "--json").stdout)
    moves = [(change["replaced"], change["version"], change["by"]) for change in changes]
    assert moves == [(None, 1, "gate"), (1, challenger, "hand"), (challenger, 1, "rollback")]
    assert changes[1]["because"] == "the errors of version 1 are the expensive ones"
    assert "are the expensive ones" in retrained.run("history").stdout
    explained = retrained.run("explain", str(challenger)).stdout
    assert f"{NAME} version {challenger} was held at " in explained
    assert "that of the champion, version 1, " in explained
    assert "more wins than losses and p below 5e-10, as gate.significance 1e-09 holds for a year" in explained
    assert "it was rolled back or replaced by hand" in explained
    assert "There was no champion to compare it with" in retrained.run("explain", "1").stdout
    refused = retrained.run("rollback", check=False)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    assert champion(retrained) == 1


def test_a_rejected_version_is_rolled_out_only_by_its_number_and_with_a_warning(retrained: Checkout) -> None:
    worst = next(row["version"] for row in leaderboard(retrained) if row["decision"] == "reject")
    assert status(retrained)["challenger"]["version"] != worst
    assert not (retrained.folder / MODEL / str(worst)).exists()
    shown = retrained.run("shadow", "on", "--version", str(worst)).stdout
    assert f"version {worst} gets a copy of all requests" in shown
    assert "the gate rejected it: accuracy" in shown
    assert probe_is_reproduced(retrained.folder / MODEL / str(worst))
    assert "there is no rollout" in retrained.run("shadow", "off").stdout


@pytest.mark.long
def test_what_was_replaced_by_hand_does_not_come_back_by_itself(retrained: Checkout, reporting: Checkout) -> None:
    worst = min(leaderboard(retrained), key=lambda row: row["score"])["version"]
    shown = retrained.run("promote", str(worst), "--dataset", "digits").stdout
    assert "the gate rejected it" in shown
    assert "`mnistflow rollback --dataset digits` returns to the version before" in " ".join(shown.split())
    again = reporting.run("retrain")
    assert "unchanged" in again.stdout
    assert "replaced by hand: only `mnistflow promote 1` brings it back" in again.stderr
    assert champion(retrained) == worst
    retrained.run("promote", "1")
    assert champion(retrained) == 1


def test_a_run_that_was_killed_before_its_model_was_registered_is_not_ranked(retrained: Checkout) -> None:
    before = leaderboard(retrained)
    store = MlflowClient(f"sqlite:///{retrained.folder}/var/mlflow/mlflow.db")
    run = store.create_run(store.get_experiment_by_name("digits").experiment_id, tags={"mnistflow.kind": "retrain"})
    store.log_metric(run.info.run_id, "test_accuracy", 1.0)
    store.set_terminated(run.info.run_id, "KILLED")
    assert leaderboard(retrained) == before


def test_the_challenger_of_a_rollout_stays_the_same_until_it_has_ended(retrained: Checkout) -> None:
    store = MlflowClient(f"sqlite:///{retrained.folder}/var/mlflow/mlflow.db")
    first, second = sorted(registered(retrained).keys() - {champion(retrained)})[:2]
    store.set_registered_model_alias(NAME, "challenger", str(first))
    retrained.run("canary", "10%")
    retrained.run("shadow", "on")
    store.set_registered_model_alias(NAME, "challenger", str(second))
    refused = retrained.run("canary", "20%", check=False)
    assert refused.returncode == 1
    assert f"version {first} is in a rollout, and the challenger is version {second} now" in refused.stderr
    store.delete_registered_model_alias(NAME, "challenger")
    assert f"version {first} gets a copy of all requests" in retrained.run("canary", "off").stdout
    retrained.run("shadow", "off")
    assert not (retrained.folder / MODEL / "rollout.json").exists()


def rollout_is_asked_for_and_shown(checkout: Checkout, challenger: int) -> None:
    wrong = checkout.run("canary", "110%", check=False)
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (1, 1)
    assert "the gate rejected it" not in checkout.run("canary", "12.5%").stdout
    assert f"version {challenger} answers 12.5% of the requests and gets a copy" in checkout.run("shadow", "on").stdout
    port = free_port()
    server = checkout.start("serve", "--port", str(port))
    wait_for_port(port, server)
    shown = f"http://127.0.0.1:{port}/status"
    wait_until(lambda: waiting.get(shown).json()["models"][NAME]["rollout"]["state"] == "on", server)
    now = status(checkout)
    server.terminate()
    assert server.wait() == 0
    assert now["rollout"].items() >= {"challenger": challenger, "canary": 0.125, "shadow": True}.items()
    (served,) = (entry["served"] for entry in now["servers"] if entry["address"].endswith(f":{port}"))
    assert served["champion"] == 1
    assert served["rollout"]["challenger"] == challenger


@pytest.mark.long
def test_an_ensemble_goes_the_whole_road(reporting: Checkout) -> None:
    """Of two published versions, one named by its number and one by its run."""
    known, models = registered(reporting), reporting.folder / MODEL
    first, second = sorted(number for number in known if (models / str(number)).exists())[:2]
    members = {"model.family": "ensemble", "model.ensemble.members": f"[{first},{known[second]}]"}
    reporting.run("retrain", **members, **{"gate.max_recall_drop": "1", "gate.max_robustness_drop": "1"})
    (newest,) = registered(reporting).keys() - known.keys()
    assert probe_is_reproduced(models / str(newest))
    with np.load(models / str(newest) / "probe.npz") as probe:
        inputs, outputs = probe["inputs"], probe["outputs"]
    files = [(models / str(number) / "model.onnx").read_bytes() for number in (first, second)]
    each = [onnxruntime.InferenceSession(file).run(None, {"images": inputs})[0] for file in files]
    run = max((reporting.folder / "var/runs").iterdir(), key=lambda path: path.name)
    pinned = yaml.safe_load((run / "params.yaml").read_text())["model"]["ensemble"]["sha256"]
    assert len(set(pinned)) == 2
    temperatures = log_odds(np.mean(each, axis=0)) / log_odds(outputs)
    assert temperatures == pytest.approx(temperatures[0], rel=0.01)


def log_odds(probabilities: np.ndarray) -> np.ndarray:
    """Return those of the most against the least probable class: `[n]`."""
    return np.asarray(np.log(probabilities.max(axis=1) / probabilities.min(axis=1)))


@pytest.mark.long
def test_kill_9_in_tune_train_and_publish_loses_nothing(retrained: Checkout, reporting: Checkout) -> None:
    known = registered(retrained)
    next_one = max(known) + 1
    resume, models = retrained.folder / "var/resume", retrained.folder / MODEL
    settings = {"train.seed": "7", "train.epochs": "12", "train.patience": "12", "tune.trials": "3"}
    reached: list[tuple[Checkout, Callable[[], bool]]] = [
        (reporting, lambda: any(b'"state":1' in path.read_bytes() for path in resume.glob("tune-*/*.journal"))),
        (retrained, lambda: any(resume.glob("train-*/epoch-0005"))),
        (reporting, lambda: any(models.glob(f".{next_one}.*")) or (models / str(next_one)).exists()),
    ]
    output = ""
    for checkout, moment in reached:
        process = checkout.start("retrain", **settings)
        wait_until(moment, process)
        output += kill(process)
        assert status(retrained)["serving"] == champion(retrained) == 1
        whole = [path for path in models.iterdir() if path.name.isdigit()]
        assert models / "1" in whole
        assert all(probe_is_reproduced(path) for path in whole)
    output += reporting.run("retrain", **settings).stderr
    assert "resuming with" in output
    assert "resuming after epoch" in output
    assert "train: unchanged" in output
    assert "as decided before" in output
    assert registered(retrained).keys() == known.keys() | {next_one}
    assert status(retrained)["serving"] == champion(retrained)
    assert not list((retrained.folder / "var/runs").glob("*/src"))
    assert not list((retrained.folder / "var/runs").glob("*/process.json"))
    statuses = [found for (found,) in retrained.query("select status from runs where lifecycle_stage = 'active'")]
    assert "RUNNING" not in statuses
    assert statuses.count("KILLED") >= 2  # that in publish may have been recorded as finished


def kill(process: subprocess.Popen[str]) -> str:
    """Kill -9 a command alone, see that all that it started ends with it, and return what it printed."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    output = process.communicate()[0]
    assert process.returncode == -signal.SIGKILL
    assert still_running(family) == []
    return output


@pytest.mark.long
@pytest.mark.parametrize("signal_sent", [signal.SIGINT, signal.SIGTERM])
def test_an_end_from_outside_ends_the_whole_family(
    retrained: Checkout, reporting: Checkout, prefect_api: str, signal_sent: signal.Signals
) -> None:
    """The first run has a Prefect server of its own. In the second, a stage was killed before, and is tried again."""
    settings = {"train.epochs": "500", "train.patience": "500", "tune.trials": "0"}
    process = (retrained if signal_sent == signal.SIGINT else reporting).start("retrain", **settings)
    wait_for_an_epoch(retrained, process)
    if signal_sent == signal.SIGTERM:
        workers(process.pid)[0].kill()
        wait_for_an_epoch(retrained, process)
    family = psutil.Process(process.pid).children(recursive=True)
    if signal_sent == signal.SIGINT:
        os.killpg(process.pid, signal_sent)  # as a terminal does for Ctrl-C
    else:
        process.send_signal(signal_sent)
    output = process.communicate()[0]
    assert still_running(family) == []
    assert process.returncode == 130
    assert "resumes where this one stopped" in output
    assert "Traceback" not in output
    assert ("stage train was killed" in output) == (signal_sent == signal.SIGTERM)
    ((name, status),) = retrained.query("select name, status from runs order by start_time desc limit 1")
    assert status == "KILLED"
    if signal_sent == signal.SIGINT:
        assert last_flow_run(retrained) == "CANCELLED"
    else:
        reported = [run["state_type"] for run in services.flow_runs(prefect_api) if run["name"] == name]
        assert reported[0] == "CANCELLED"
    workspace = max((retrained.folder / "var/runs").iterdir(), key=lambda path: path.name)
    assert {path.name for path in workspace.iterdir()} <= {"params.yaml", "dvc.yaml", "dvc.lock", ".dvcignore", "logs"}


def last_flow_run(checkout: Checkout) -> str:
    """Return the state of the latest flow run in the database of the checkout's own Prefect server, which has ended."""
    with closing(sqlite3.connect(checkout.folder / "var/prefect/prefect.db")) as store:
        (state,) = store.execute("select state_type from flow_run order by start_time desc limit 1").fetchone()
    return str(state)


def wait_for_an_epoch(checkout: Checkout, process: subprocess.Popen[str]) -> None:
    """Wait until a training has finished one more."""

    def finished() -> set[Path]:
        return {*(checkout.folder / "var/resume").glob("train-*/epoch-*")}

    before = finished()
    wait_until(lambda: bool(finished() - before), process)


@pytest.mark.long
def test_without_a_mirror_there_is_one_clear_error_or_the_fallback_under_its_own_name(
    tmp_path: Path, prefect_api: str
) -> None:
    """With a preset and an override."""
    checkout = make_checkout(tmp_path / "checkout", PREFECT_API_URL=prefect_api)
    floors = {"gate.min_accuracy": "0", "gate.min_class_recall": "0"}
    write_params(checkout, **{**QUICK, **floors, "fetch.dataset": "mnist", "fetch.mirrors": "[nowhere]"})
    failed = checkout.run("retrain", check=False, **{"fetch.fallback": "null"})
    errors = [line for line in failed.stderr.splitlines() if line.startswith("error:")]
    assert failed.returncode == 1
    assert len(errors) == 1
    assert "MNISTFLOW_MIRRORS" in errors[0]
    assert "Traceback" not in failed.stderr
    assert not (checkout.folder / "var/models").exists()

    done = checkout.run("retrain", "--preset", "fast", **{"train.seed": "7"})
    workspace = max((checkout.folder / "var/runs").iterdir(), key=lambda path: path.name)
    params = yaml.safe_load((workspace / "params.yaml").read_text())
    assert (params["model"]["family"], params["tune"]["trials"], params["train"]["seed"]) == ("cnn", 0, 7)
    assert "WARNING: NO MIRROR PROVIDED mnist: USING digits" in done.stderr
    assert "WARNING" in done.stdout
    assert status(checkout)["dataset"] == "digits"
    assert [path.name for path in (checkout.folder / "var/models").glob("*-classifier")] == ["digits-classifier"]
    assert {name for (name,) in checkout.query("select name from experiments")} == {"Default", "digits"}
    assert checkout.query("select distinct value from params where key = 'data.name'") == [("digits",)]
    assert ("cnn fast seed=7",) in checkout.query("select name from runs")
