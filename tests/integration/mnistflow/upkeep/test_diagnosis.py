"""What killed processes and full disks leave in a retrained checkout is named with a fix, and repaired."""

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import receivers
from checkouts import Checkout, copy_checkout, write_params
from configured import configured
from mlflow import MlflowClient

from flows.orchestration import server_address
from mnistflow import config, files
from mnistflow.monitoring import state as monitoring
from mnistflow.paths import Paths
from mnistflow.pipeline import workspace
from mnistflow.process_identity import ProcessIdentity
from mnistflow.registry import rollouts, versions
from mnistflow.registry.repository import publisher
from mnistflow.registry.rollouts import Rollout
from mnistflow.tracking import lease, runs
from mnistflow.upkeep import diagnosis
from mnistflow.upkeep.problems import Problem
from serving.inference_log.store import LogStore

pytestmark = pytest.mark.slow

NAME = "digits-classifier"
DEAD = replace(ProcessIdentity.own(), started=0.0, boot_ticks="")
ELSEWHERE = replace(ProcessIdentity.own(), host="worker-7d9f")
LONG_AGO = time.time() - 2 * diagnosis.SILENCE.total_seconds()


@pytest.fixture
def paths(retrained: Checkout, tmp_path: Path) -> Iterator[Paths]:
    copy = copy_checkout(retrained.folder, tmp_path / "checkout")
    with configured(Paths(copy.folder, copy.folder)) as paths:
        yield paths


def diagnose(paths: Paths) -> list[Problem]:
    return list(diagnosis.diagnose(paths, NAME, config.load(paths.params).gc, str(paths.var / "inferences.db")))


def leave_a_dead_run(paths: Paths) -> None:
    tags = {"mnistflow.process_started": str(DEAD.started), "mnistflow.process_boot_ticks": DEAD.boot_ticks}
    runs.start(paths, "digits", "killed", kind="retrain", tags=tags)


def leave_a_workspace(paths: Paths) -> None:
    files.write_json(workspace.create(paths, {}).root / workspace.OWNER, asdict(DEAD))


def leave_a_run_of_another_machine(paths: Paths) -> None:
    tags = {"mnistflow.host": ELSEWHERE.host}
    runs.start(paths, "digits", "running", kind="retrain", tags=tags)  # began just now
    run = runs.start(paths, "digits", "vanished", kind="retrain", tags=tags)
    with closing(sqlite3.connect(paths.mlflow / "mlflow.db")) as store, store:
        store.execute("update runs set start_time = ? where run_uuid = ?", (int(LONG_AGO * 1000), run.run_id))


def leave_a_workspace_of_another_machine(paths: Paths) -> None:
    for age in (0.0, LONG_AGO):
        folder = workspace.create(paths, {}).root
        files.write_json(folder / workspace.OWNER, asdict(ELSEWHERE))
        for path in (folder, *folder.rglob("*")) if age else ():
            os.utime(path, (age, age))


def leave_a_ticket(_: Paths) -> None:
    ticket = replace(lease.Ticket.own(), number=1, owner=DEAD)
    MlflowClient().set_registered_model_tag(NAME, f"{lease.TAG}x", json.dumps(asdict(ticket)))


def leave_old_rows(paths: Paths) -> None:
    log = LogStore(str(paths.var / "inferences.db"))
    log.insert([(str(age), 0, time.time() - age, NAME, 1, b"", "[0]", "[]", "[]") for age in (1e8, 1e8 - 1, 0.0)])
    log.close()


def leave_a_large_log(paths: Paths) -> None:
    with (paths.var / "logs/predictions.log").open("wb") as log:
        log.truncate(diagnosis.LOG_BYTES)
        log.seek(0, 2)
        log.write(b"\nthe last line\n")


def leave_a_former_var(paths: Paths) -> None:
    (paths.checkout / ".var.1f.old/models").mkdir(parents=True)


def leave_half_a_state(paths: Paths) -> None:
    path = monitoring.folder(paths, NAME) / "state.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"version": 1')


def leave_a_rollout_of_a_deleted_version(_: Paths) -> None:
    rollout = Rollout(challenger=2, canary=0.1)
    MlflowClient().set_registered_model_tag(NAME, rollouts.ROLLOUT_TAG, json.dumps(asdict(rollout)))


def damage_the_published_file(paths: Paths) -> None:
    published = paths.models / NAME / "1/model.onnx"
    published.write_bytes(published.read_bytes()[:-1])


DAMAGES = (
    ("MLflow run", leave_a_dead_run),
    ("MLflow run", leave_a_run_of_another_machine),
    ("workspace", leave_a_workspace),
    ("workspace", leave_a_workspace_of_another_machine),
    ("lease", leave_a_ticket),
    ("rollout", leave_a_rollout_of_a_deleted_version),
    ("model repository", damage_the_published_file),
    ("monitoring", leave_half_a_state),
    ("inference log", leave_old_rows),
    ("log", leave_a_large_log),
    ("restoration", leave_a_former_var),
)


def test_what_a_year_leaves_behind_is_named_and_repaired(paths: Paths) -> None:
    assert diagnose(paths) == []
    for _, damage in DAMAGES:
        damage(paths)
    found = diagnose(paths)
    assert [problem.subject for problem in found] == [subject for subject, _ in DAMAGES]
    for problem in found:
        assert len(str(problem).splitlines()) == 1 and problem.fix
        assert diagnosis.repair(problem) == ""
    assert diagnose(paths) == []
    assert (paths.var / "logs/predictions.log").read_bytes().endswith(b"the last line\n")
    assert not list(paths.checkout.glob(".var.*"))


def test_a_var_that_is_not_there_any_more_is_named_and_not_removed(paths: Paths) -> None:
    (paths.checkout / ".var.1f.tmp").mkdir()
    leave_a_former_var(paths)
    (problem,) = diagnose(paths)
    assert problem.repair is None and f"has moved var/ to {paths.checkout}/.var.1f.old" in problem.message


def test_a_repository_behind_the_registry_is_brought_up_to_date(paths: Paths) -> None:
    shutil.rmtree(paths.models / NAME)
    (problem,) = diagnose(paths)
    assert "serves nothing, but the champion is version 1" in problem.message
    assert diagnosis.repair(problem) == ""
    assert publisher.is_intact(paths, versions.find(NAME, 1)) and diagnose(paths) == []


def test_an_alias_without_files_is_named_with_what_the_user_can_do(paths: Paths) -> None:
    for model in paths.mlflow.rglob("model.onnx"):
        model.unlink()
    (problem,) = diagnose(paths)
    assert problem.subject == "alias" and "champion points to digits-classifier version 1" in problem.message
    assert problem.repair is None and problem.fix.startswith("Restore the artifact store")
    shutil.rmtree(paths.models / NAME)
    _, behind = diagnose(paths)
    assert diagnosis.repair(behind).startswith("the files of digits-classifier version 1 are not in the artifact store")


def test_a_version_that_mlflow_has_registered_is_named(paths: Paths) -> None:
    run_id = versions.find(NAME, 1).run_id
    MlflowClient().create_model_version(NAME, f"runs:/{run_id}/model", run_id)
    (ignored,) = diagnose(paths)
    assert ignored.what == f"version: {NAME} version 2 was not registered by mnistflow" and ignored.repair is None
    MlflowClient().set_registered_model_alias(NAME, "champion", "2")
    (chosen,) = diagnose(paths)
    assert chosen.what == f"version: {NAME} version 2, which is champion, was not registered by mnistflow"
    assert chosen.fix.startswith("`mnistflow promote VERSION`")


def test_a_deleted_run_or_experiment_of_the_champion_is_named(paths: Paths) -> None:
    run_id = versions.find(NAME, 1).run_id
    experiment = runs.read(run_id).experiment_id
    MlflowClient().delete_run(run_id)
    (one,) = diagnose(paths)
    assert one.what == f"alias: champion points to {NAME} version 1: run {run_id} was deleted in MLflow"
    assert f"mlflow runs restore --run-id {run_id}` brings it back" in one.fix and one.repair is None
    MlflowClient().delete_experiment(experiment)
    (one,) = diagnose(paths)
    assert one.message.endswith("experiment digits was deleted in MLflow, with its runs")
    assert f"mlflow experiments restore --experiment-id {experiment}` brings it back" in one.fix
    MlflowClient().restore_experiment(experiment)
    assert diagnose(paths) == []


def test_the_command_ends_with_1_while_something_is_wrong(retrained: Checkout) -> None:
    published = retrained.folder / "var/models" / NAME / "champion"
    published.write_text("9\n")
    done = retrained.run("doctor", check=False)
    assert done.returncode == 1
    assert "serves version 9, but the champion is version 1" in done.stdout
    done = retrained.run("doctor", "--repair", "--json", check=False)
    report = json.loads(done.stdout)
    assert published.read_text() == "1\n" and [one["subject"] for one in report["repaired"]] == ["model repository"]
    assert done.returncode == 0 and report["failures"] == report["wrong"] == []


def test_schedules_that_have_run_and_that_nothing_runs_any_more_are_named(retrained: Checkout) -> None:
    assert "nothing is wrong" in retrained.run("doctor").stdout
    server_address.clear_server(Paths(retrained.folder, retrained.folder))  # as `mnistflow schedule` does at its end
    done = retrained.run("doctor", "--repair", "--json", check=False)
    (found,) = json.loads(done.stdout)["wrong"]
    assert done.returncode == 1
    assert (found["subject"], found["repairable"]) == ("schedule", False)


def test_the_daily_upkeep_repairs_removes_and_tells_what_is_left(retrained: Checkout, prefect_api: str) -> None:
    published = retrained.folder / "var/models" / NAME / "champion"
    old = retrained.folder / "var/runs/old"
    old.mkdir(parents=True)
    with receivers.webhook() as webhook:
        own = {"PREFECT_API_URL": prefect_api, "MNISTFLOW_NOTIFY_WEBHOOK": webhook.url}
        checkout = replace(retrained, environment={**retrained.environment, **own})
        write_params(checkout, **{"gc.automatic": "true", "gc.workspaces": "0"})
        published.write_text("9\n")
        checkout.python("from flows.upkeep import upkeep; upkeep()")
    assert published.read_text() == "1\n"
    assert not old.exists()
    (text,) = webhook.texts
    headline, left, *_ = text.splitlines()
    assert headline == "upkeep: 1 repaired, 1 left for a person"
    assert left.startswith("schedule: ")
