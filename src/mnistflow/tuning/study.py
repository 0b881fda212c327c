"""Optuna study of a search: storage, sampler, pruner, distributions and plots."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistflow.errors import StageError
from mnistflow.learners.config import LearningConfig
from mnistflow.tasks.plots import figures
from mnistflow.tuning.config import Choices, Range, Space, TuneConfig

if TYPE_CHECKING:
    import optuna
    from matplotlib.axes import Axes
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

# User attributes of a trial.
RUN = "run_id"  # id of its MLflow run
PRUNED = "pruned"  # epoch at which it was pruned

PLOTS = ("history.png", "importance.png")
MIN_COMPLETE = 2  # trials that the plots need


def open_study(name: str, storage: str, config: TuneConfig) -> optuna.Study:
    """Open a study, or create it, with the sampler and the pruner of a TuneConfig.

    Args:
        name: of the study.
        storage: URL of a database, or path of a journal file.
        config: section `tune` of params.yaml.

    Raises:
        StageError: the storage cannot be opened.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(
        seed=config.seed, constant_liar=True, n_startup_trials=max(2, min(10, config.trials // 2))
    )
    return optuna.create_study(
        study_name=name,
        storage=_open_storage(storage),
        sampler=sampler,
        pruner=make_pruner(config),
        direction="minimize",
        load_if_exists=True,
    )


def make_pruner(config: TuneConfig) -> optuna.pruners.BasePruner:
    """Return the pruner of a TuneConfig.

    `hyperband` follows Li et al., JMLR 18 (2018). `halving` is successive halving (Jamieson and Talwalkar, AISTATS
    2016): at a sixth of the epochs, and whenever their number has doubled, the better half of the trials continues.
    `median` stops a trial whose best loss is above the median of the others at the same epoch.
    """
    import optuna

    pruners: dict[str, optuna.pruners.BasePruner] = {
        "median": optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1),
        "hyperband": optuna.pruners.HyperbandPruner(min_resource=1, max_resource=config.epochs),
        "halving": optuna.pruners.SuccessiveHalvingPruner(min_resource=max(1, config.epochs // 6), reduction_factor=2),
        "none": optuna.pruners.NopPruner(),
    }
    return pruners[config.pruner]


def _open_storage(url: str) -> BaseStorage:
    """Return the storage at the URL of a database, or in a journal file at a path."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return _open_database(url) if "://" in url else JournalStorage(JournalFileBackend(url))


@lru_cache(maxsize=1)
def _open_database(url: str) -> BaseStorage:
    """Open a database, once per process. PostgreSQL uses psycopg 3 unless the URL names another driver."""
    from optuna.storages import RDBStorage
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    try:
        parsed = make_url(url)
        driver = "postgresql+psycopg" if parsed.drivername in {"postgresql", "postgres"} else parsed.drivername
        return RDBStorage(parsed.set(drivername=driver).render_as_string(hide_password=False))
    except (SQLAlchemyError, ImportError, ValueError) as error:
        raise _unavailable(url, error) from error


def _unavailable(url: str, error: Exception) -> StageError:
    reason = str(error).strip().splitlines()[0]
    return StageError(
        f"tune.storage {_without_password(url)} cannot be opened: {reason}",
        "Start the database, or correct the URL; PostgreSQL needs `pip install '.[cluster]'`.",
    )


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def retry_unfinished(study: optuna.Study) -> list[str]:
    """Enqueue the trials that were running when the search was interrupted; return the ids of their MLflow runs."""
    from optuna.trial import TrialState

    unfinished = study.get_trials(states=(TrialState.RUNNING,))
    for trial in unfinished:
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return [trial.user_attrs[RUN] for trial in unfinished if RUN in trial.user_attrs]


def enqueue_defaults(study: optuna.Study, learning: LearningConfig, space: Space) -> None:
    """Enqueue the values of params.yaml as first trial, so that the best trial is at least as good as they are."""
    entries = learning.entries()
    values = {key: entries[key] for key in space}
    if not study.get_trials() and all(space[key].contains(value) for key, value in values.items()):
        study.enqueue_trial({key: _encode(value) for key, value in values.items()})


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Return the finished trials, complete or pruned."""
    from optuna.trial import TrialState

    return list(study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED)))


def stored_attributes(trial: optuna.Trial) -> dict[str, Any]:
    """Return the user attributes of a trial from the storage, including those that another process set.

    Raises:
        StageError: the storage cannot be reached from this process.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        stored = trial.study.get_trials(deepcopy=False)[trial.number]
    except (SQLAlchemyError, StorageInternalError) as error:
        raise StageError(
            f"the study of trial {trial.number} cannot be read by its worker: {str(error).strip().splitlines()[0]}",
            "Let tune.storage name the database by an address that all workers can reach.",
        ) from error
    return dict(stored.user_attrs)


def distributions(learning: LearningConfig, space: Space) -> dict[str, BaseDistribution]:
    """Return Optuna's distribution of each hyperparameter, by dotted key."""
    return {key: _distribution(learning, key, entry) for key, entry in space.items()}


def _distribution(learning: LearningConfig, key: str, entry: Range | Choices) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(entry, Choices):
        return CategoricalDistribution([_encode(choice) for choice in entry.choices])
    if isinstance(learning.converted(key, entry.checked_values[0], key), int):
        return IntDistribution(int(entry.low), int(entry.high), log=entry.log)
    return FloatDistribution(entry.low, entry.high, log=entry.log)


def parameters(trial: optuna.Trial | FrozenTrial) -> dict[str, Any]:
    """Return the sampled hyperparameters of a trial, by dotted key, with values as in params.yaml."""
    return {key: _decode(value) for key, value in trial.params.items()}


def draw(folder: Path, trials: Sequence[FrozenTrial]) -> None:
    """Plot the losses of all trials in their order, and the importance of each hyperparameter (PED-ANOVA)."""
    import optuna
    from optuna.visualization import matplotlib as optuna_plots

    if sum(trial.state == optuna.trial.TrialState.COMPLETE for trial in trials) < MIN_COMPLETE:
        for name in PLOTS:
            figures.note(folder / name, f"{len(trials)} trials: nothing to compare")
        return
    # A copy in memory, because Optuna plots studies, and the storage may be unavailable by now.
    study = optuna.create_study()
    study.add_trials(trials)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental features, and trials that hardly differ
        _save(optuna_plots.plot_optimization_history(study, target_name="validation loss"), folder / "history.png")
        _save(optuna_plots.plot_param_importances(study, target_name="validation loss"), folder / "importance.png")


def _save(axes: Axes, path: Path) -> None:
    from matplotlib import pyplot

    figure: Any = axes.figure
    figure.set_size_inches(8, 4.5)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    pyplot.close(figure)


def _encode(value: Any) -> Any:
    """Return a value that Optuna accepts as a category: a scalar, or a list or mapping as JSON."""
    return json.dumps(value) if isinstance(value, list | tuple | dict) else value


def _decode(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and value.startswith(("[", "{")) else value
