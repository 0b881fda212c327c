"""Search loop: asks Optuna for trials, runs them on workers, and reports their results to the study."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from mnistflow.errors import StageError
from mnistflow.tuning.trial import TrialJob, TrialResult
from mnistflow.workers import dask_scheduler, job_loop
from mnistflow.workers.base import JobFunction, WorkerDied, Workers
from mnistflow.workers.dask import DaskWorkers
from mnistflow.workers.processes import LocalWorkers

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

logger = logging.getLogger(__name__)

ATTEMPTS = 3  # per trial, if its worker dies


def find_workers(configured: dask_scheduler.Address | None, count: int, threads: int) -> Workers[TrialJob, TrialResult]:
    """Return the workers of a Dask cluster, if one is configured, else local processes.

    Args:
        configured: address of the Dask scheduler; None reads `DASK_SCHEDULER_ADDRESS`.
        count: number of local processes.
        threads: intra-op threads of TensorFlow in a Dask worker; 0 keeps the worker's environment.

    Raises:
        ConfigError: the variable contains no valid address.
        StageError: no scheduler answers at the address.
    """
    if address := dask_scheduler.find(configured):
        return DaskWorkers(address, threads)
    cores = os.sched_getaffinity(0)
    return LocalWorkers([cores] * count, max(1, len(cores) // count))


def run_trials(
    opened: optuna.Study,
    distributions: Mapping[str, BaseDistribution],
    count: int,
    workers: Workers[TrialJob, TrialResult],
    *,
    make_job: Callable[[optuna.Trial], TrialJob],
    objective: JobFunction[TrialJob, TrialResult],
    on_trial: Callable[[FrozenTrial], None],
) -> None:
    """Run `count` more trials of a study.

    Args:
        opened: an open study.
        distributions: of the hyperparameters, by dotted key.
        count: number of trials.
        workers: where the trials run.
        make_job: makes the job of a trial.
        objective: run in a worker for each job.
        on_trial: called with each finished trial.

    Raises:
        StageError: no worker is available, or workers died `ATTEMPTS` times in the same trial.
    """
    deaths: Counter[int] = Counter()

    def jobs() -> Iterator[TrialJob]:
        for _ in range(count):
            yield make_job(opened.ask(dict(distributions)))

    def finish(job: TrialJob, result: Callable[[], TrialResult]) -> bool:
        trial = job.trial
        try:
            on_trial(_tell(opened, trial, result()))
        except WorkerDied as error:
            deaths[trial.number] += 1
            if deaths[trial.number] == ATTEMPTS:
                raise _workers_died(trial) from error
            logger.warning("a worker died in trial %d, which is tried again", trial.number)
            return True
        return False

    job_loop.run_jobs(workers, objective, jobs(), on_done=finish)


def _tell(opened: optuna.Study, trial: optuna.Trial, result: TrialResult) -> FrozenTrial:
    from optuna.trial import TrialState

    for name, value in asdict(result).items():
        trial.set_user_attr(name, value)
    if result.loss is None:
        return opened.tell(trial, state=TrialState.PRUNED)
    return opened.tell(trial, result.loss)


def _workers_died(trial: optuna.Trial) -> StageError:
    return StageError(
        f"worker processes died {ATTEMPTS} times in trial {trial.number}, most likely because memory ran out",
        "Lower tune.workers and start again: finished trials are kept.",
        transient=False,
    )
