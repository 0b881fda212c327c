"""Garbage of a retrained checkout a year later: what nothing references goes, the rest stays and works."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from checkouts import Checkout, copy_checkout
from configured import configured
from mlflow import MlflowClient

from mnistflow import config, files
from mnistflow.paths import Paths
from mnistflow.pipeline import workspace
from mnistflow.process_identity import ProcessIdentity
from mnistflow.registry import versions
from mnistflow.registry.gate.alpha_spending import SPENT_TAG
from mnistflow.registry.repository import publisher
from mnistflow.tracking import runs
from mnistflow.upkeep.gc import collection
from mnistflow.upkeep.gc.garbage import Garbage
from serving.inference_log.store import Feedback, LogStore

pytestmark = pytest.mark.slow

NAME = "digits-classifier"
LATER = datetime.now(UTC) + timedelta(days=400)
CLASSES = json.dumps([str(digit) for digit in range(10)])


class Year:
    """A checkout that has been used for a year: a champion, and what else a test adds.

    Args:
        paths: of the checkout.
    """

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.client = MlflowClient()
        self.log = paths.var / "inferences.db"

    def collect(self, *, delete: bool, now: datetime = LATER) -> Mapping[str, Garbage]:
        retention = config.load(self.paths.params).gc
        found = collection.collect(self.paths, retention, str(self.log), now, delete=delete)
        return {garbage.kind: garbage for garbage in found}

    def run(self, *, tags: Mapping[str, str] | None = None, parent: str | None = None, **params: object) -> runs.Run:
        """Add a finished run with a dvc.lock that names a file in DVC's cache."""
        run = runs.start(self.paths, "digits", "candidate", kind="retrain", parent=parent, tags=tags)
        run.log_params({name.replace("_", ".", 1): value for name, value in params.items()})
        run.log_text(f"stages: {{train: {{outs: [{{path: model, md5: {run.run_id}}}]}}}}\n", "dvc.lock")
        path = self.cached(run)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a model")
        run.finish()
        return run

    def cached(self, run: runs.Run) -> Path:
        return self.paths.var / "dvc/cache/files/md5" / run.run_id[:2] / run.run_id[2:]

    def version(self, run: runs.Run, **tags: str) -> int:
        """Register a version of a run with the files of the champion."""
        champion = self.client.get_model_version(NAME, "1")
        own = {**champion.tags, versions.TAG + "history": "", SPENT_TAG: "[]", **tags}
        made = self.client.create_model_version(NAME, champion.source, run.run_id, tags=own)
        run.set_tags({runs.VERSION: f"{NAME}/{made.version}"})
        return int(made.version)

    def has(self, run: runs.Run) -> bool:
        """Return whether everything of a run is there; fails if only a part is."""
        artifacts = self.paths.mlflow / "artifacts" / run.run_id
        there = {runs.exists(run.run_id), (artifacts / "artifacts/dvc.lock").is_file(), self.cached(run).is_file()}
        assert len(there) == 1 and (True in there or not artifacts.exists())
        return True in there

    def numbers(self) -> set[int]:
        return {version.number for version in versions.all_versions(NAME)}


@pytest.fixture
def year(retrained: Checkout, tmp_path: Path) -> Iterator[Year]:
    copy = copy_checkout(retrained.folder, tmp_path / "checkout")
    paths = Paths(copy.folder, copy.folder)
    with configured(paths):
        yield Year(paths)


def test_what_nothing_holds_is_listed_and_then_removed(year: Year) -> None:
    old = year.run()
    child = year.run(parent=old.run_id)
    rejected = year.version(old)
    newest = year.run()
    listed = year.collect(delete=False)
    assert year.has(old) and year.has(child) and rejected in year.numbers()
    removed = year.collect(delete=True)
    assert listed == removed
    assert {old.run_id, child.run_id} <= set(removed["MLflow runs"].names)
    assert f"{NAME}/{rejected}" in removed["versions"].names
    assert removed["MLflow runs"].bytes and removed["files of DVC's cache"].bytes
    assert not year.has(old) and not year.has(child) and year.has(newest)
    assert rejected not in year.numbers()
    assert all(not garbage.count for garbage in year.collect(delete=True).values())
    champion = versions.version_of_alias(NAME, versions.CHAMPION)
    assert champion and publisher.is_intact(year.paths, champion)


def test_what_anything_holds_stays(year: Year) -> None:
    tagged = year.run(tags={runs.KEEP: "for the paper"})
    member = year.run()
    year.version(member)
    origin = year.run()
    year.version(origin)
    ensemble = year.run(model_members=[member.run_id], train_warm_start=origin.run_id)
    for run, tags in ((ensemble, {runs.KEEP: "yes"}), (once := year.run(), {versions.TAG + "history": "a line"})):
        year.version(run, **tags)
    challenger = year.run()
    year.client.set_registered_model_alias(NAME, "challenger", str(year.version(challenger)))
    compared = year.run()
    year.version(compared, **{SPENT_TAG: json.dumps([[LATER.isoformat(), 0.01]])})
    running = runs.reopen(year.run().run_id)
    named = year.run()
    files.write_json(year.paths.var / "unchanged" / "digits.json", {"run_id": named.run_id})
    spare = year.run()
    newest = year.run()
    found = year.collect(delete=True)
    assert not year.has(spare)
    for run in (tagged, member, origin, ensemble, once, challenger, compared, running, named, newest):
        assert year.has(run)
    assert set(found["MLflow runs"].kept) >= {
        "held by alias champion",
        "held by alias challenger",
        "once champion",
        "with tag mnistflow.keep",
        "that a kept model has learned from",
        "compared by the gate within a year",
        "still running",
        "named by a file in var/",
        "of the last run of an experiment",
    }


def test_the_run_of_a_version_that_mnistflow_did_not_register_stays(year: Year) -> None:
    registered, copied = year.run(), year.run()
    original = year.version(copied)
    year.run()
    year.client.create_registered_model("prod-digits")
    year.client.create_model_version("prod-digits", f"runs:/{registered.run_id}/model", registered.run_id)
    year.client.copy_model_version(f"models:/{NAME}/{original}", "staging-digits")
    kept = year.collect(delete=True)["MLflow runs"].kept
    assert year.has(registered) and year.has(copied) and original in year.numbers()
    assert len(year.client.search_model_versions("name = 'staging-digits'")) == 1
    assert {"registered as prod-digits", "registered as staging-digits"} <= kept.keys()


def test_what_is_young_stays(year: Year) -> None:
    run = year.run()
    year.run()
    found = year.collect(delete=True, now=datetime.now(UTC) + timedelta(days=80))
    assert year.has(run)
    assert found["MLflow runs"].kept["younger than 90 days"] >= 1


def test_a_running_retraining_keeps_its_workspace_and_the_cache(year: Year) -> None:
    run = year.run()
    year.run()
    used = workspace.create(year.paths, {})
    lock = year.paths.resume / "train-1.lock"
    (year.paths.resume / "train-1").mkdir(parents=True)
    with files.claim(lock):
        found = year.collect(delete=True)
        assert lock.with_suffix("").is_dir()
    assert used.root.is_dir() and year.cached(run).is_file()
    assert found["workspaces"].kept == {"in use by a running process": 1}
    assert not found["files of DVC's cache"].count
    was_killed = replace(ProcessIdentity.own(), started=0.0, boot_ticks="")
    files.write_json(used.root / workspace.OWNER, asdict(was_killed))
    year.collect(delete=True)
    assert not used.root.exists() and not year.cached(run).exists() and not lock.with_suffix("").exists()


def test_rows_with_feedback_and_the_newest_row_stay(year: Year) -> None:
    log = LogStore(str(year.log))
    log.insert(
        [(f"{n}", 0, time.time(), NAME, 1, b"\0" * 784, "[28,28]", CLASSES, json.dumps([0.1] * 10)) for n in range(9)]
    )
    log.record_feedback(Feedback("3", 0, "7"), "")
    found = year.collect(delete=True)["rows of the inference log"]
    assert (
        found.count == 7
        and (found.bytes or 0) > 7 * 784
        and found.kept == {"with feedback": 1, "younger than 90 days": 1}
    )
    log.insert([("later", 0, time.time(), NAME, 1, b"", "[0]", CLASSES, "[]")])
    log.close()
    assert year.collect(delete=False)["rows of the inference log"].count == 1  # that the newer one follows


@pytest.mark.long
def test_the_command_lists_each_kind_with_prefects_runs(retrained: Checkout) -> None:
    before = retrained.query("select count(*) from runs")
    found = json.loads(retrained.run("gc", "--json").stdout)
    assert found["deleted"] is False
    kinds = {kind["kind"]: kind for kind in found["kinds"]}
    assert kinds["flow runs in Prefect"]["kept"]["younger than 90 days"] >= 1
    assert "alias champion" in retrained.run("gc", "--delete").stdout
    assert retrained.query("select count(*) from runs") == before
