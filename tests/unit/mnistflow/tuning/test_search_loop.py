"""The search loop with an objective that trains nothing, on a real worker process and a real study."""

import importlib
import os
import sys
from pathlib import Path

import pytest
from checkouts import ROOT
from optuna.trial import FrozenTrial

from mnistflow import config
from mnistflow.config import Config
from mnistflow.errors import StageError
from mnistflow.paths import Paths
from mnistflow.tuning import search, study
from mnistflow.tuning.trial import TrialJob, TrialResult
from mnistflow.workers.processes import LocalWorkers

# Its worker dies in the first epoch, as often as the file says.
OBJECTIVE = """
import os
from pathlib import Path

from mnistflow.tuning import study
from mnistflow.tuning.trial import TrialResult

DEATHS = Path(__file__).with_name("deaths")


def objective(job):
    trial = job.trial
    before = study.stored_attributes(trial)
    trial.report(0.5, step=1)
    trial.set_user_attr(study.PRUNED, 1)
    deaths = int(DEATHS.read_text())
    if deaths:
        DEATHS.write_text(str(deaths - 1))
        os._exit(1)
    return TrialResult(trial.number, 0.5, {"pruned before": before.get(study.PRUNED, 0)}, 1, 0.0, "")
"""


def run_one_trial(
    folder: Path,
    settings: Config,
    deaths: int,
    monkeypatch: pytest.MonkeyPatch,
    storage: str = "{folder}/study.journal",
) -> FrozenTrial:
    (folder / "objective_of_test.py").write_text(OBJECTIVE)
    (folder / "deaths").write_text(str(deaths))
    monkeypatch.syspath_prepend(str(folder))
    sys.modules.pop("objective_of_test", None)
    objective = importlib.import_module("objective_of_test").objective
    opened = study.open_study("test", storage.format(folder=folder), settings.tune)
    workers: LocalWorkers[TrialJob, TrialResult] = LocalWorkers([os.sched_getaffinity(0)], import_from=[folder])
    with workers:
        search.run_trials(
            opened,
            study.distributions(settings.learning, settings.tune.space["linear"]),
            1,
            workers,
            make_job=lambda trial: TrialJob(Paths(folder, folder), settings.learning, None, trial, ""),
            objective=objective,
            on_trial=lambda _: None,
        )
    (trial,) = opened.trials
    return trial


@pytest.fixture
def settings() -> Config:
    return config.load(ROOT / "params.yaml").with_values({"model.family": "linear"})


@pytest.mark.slow
def test_a_worker_reports_to_the_study_through_its_copy_of_the_trial(settings, tmp_path, monkeypatch) -> None:
    trial = run_one_trial(tmp_path, settings, 0, monkeypatch)
    assert trial.value == 0.5
    assert trial.intermediate_values == {1: 0.5}
    assert trial.user_attrs["measures"] == {"pruned before": 0}


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["{folder}/study.journal", "sqlite:///{folder}/study.db"])
def test_a_trial_is_repeated_with_what_its_dead_worker_has_stored(settings, tmp_path, monkeypatch, storage) -> None:
    trial = run_one_trial(tmp_path, settings, search.ATTEMPTS - 1, monkeypatch, storage)
    assert trial.value == 0.5
    assert trial.intermediate_values == {1: 0.5}
    assert trial.user_attrs["measures"] == {"pruned before": 1}


@pytest.mark.slow
def test_a_trial_whose_workers_all_die_ends_the_search(settings, tmp_path, monkeypatch) -> None:
    with pytest.raises(StageError, match=f"died {search.ATTEMPTS} times in trial 0"):
        run_one_trial(tmp_path, settings, search.ATTEMPTS, monkeypatch)
