"""The Optuna study of a search: where it is kept, what it draws, and its pictures."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistflow.errors import StageError
from mnistflow.learners.config import LearningConfig
from mnistflow.tasks import plots
from mnistflow.tuning.config import Choices, Space, TuneConfig

if TYPE_CHECKING:
    import optuna
    from matplotlib.axes import Axes
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

RUN = "run_id"  # the attribute of a trial that names its MLflow run
PRUNED = "pruned"  # the one that says after which epoch it was ended
PICTURES = ("history.png", "importance.png")
COMPARABLE = 2  # complete trials


def open_study(name: str, storage: str, config: TuneConfig) -> optuna.Study:
    """Open or make a study with the sampler and the pruner of a TuneConfig.

    Raises:
        StageError: the storage does not answer.
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
    """Return what ends hopeless trials.

    Hyperband after Li et al., JMLR 18 (2018); halving, without its brackets, after Jamieson and Talwalkar, AISTATS
    2016: from a sixth of the epochs on, and each time they have doubled, the better half goes on.
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
    """Return a storage: a database by URL, or a journal by the path of its file."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return _open_database(url) if "://" in url else JournalStorage(JournalFileBackend(url))


@lru_cache(maxsize=1)
def _open_database(url: str) -> BaseStorage:
    """Open a database once a process; PostgreSQL by psycopg 3 unless the URL names another driver."""
    from optuna.storages import RDBStorage
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    try:
        parsed = make_url(url)
        driver = "postgresql+psycopg" if parsed.drivername in {"postgresql", "postgres"} else parsed.drivername
        return RDBStorage(parsed.set(drivername=driver).render_as_string(hide_password=False))
    except (SQLAlchemyError, ImportError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        fix = "Start the database, or correct the URL; PostgreSQL needs `pip install mnistflow[cluster]`."
        raise StageError(f"tune.storage {_without_password(url)} cannot be opened: {reason}", fix) from error


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def retry_unfinished(study: optuna.Study) -> list[str]:
    """Try those trials again that were running when the last start was killed; return their MLflow runs."""
    from optuna.trial import TrialState

    unfinished = study.get_trials(states=(TrialState.RUNNING,))
    for trial in unfinished:
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return [trial.user_attrs[RUN] for trial in unfinished if RUN in trial.user_attrs]


def suggest_defaults(study: optuna.Study, learning: LearningConfig, space: Space) -> None:
    """The first trial has the values of params.yaml, so that a search cannot end below them unnoticed."""
    entries = learning.entries()
    values = {key: entries[key] for key in space}
    if not study.get_trials() and all(space[key].contains(value) for key, value in values.items()):
        study.enqueue_trial({key: _encode(value) for key, value in values.items()})


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that came to an end, pruned ones too."""
    from optuna.trial import TrialState

    return list(study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED)))


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return what Optuna draws from."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    return {
        key: CategoricalDistribution([_encode(choice) for choice in entry.choices])
        if isinstance(entry, Choices)
        else FloatDistribution(entry.low, entry.high, log=entry.log)
        for key, entry in space.items()
    }


def parameters(trial: optuna.Trial | FrozenTrial) -> dict[str, Any]:
    """Return what a trial has drawn, by dotted key, as params.yaml would have it."""
    return {key: _decode(value) for key, value in trial.params.items()}


def draw(folder: Path, trials: Sequence[FrozenTrial]) -> None:
    """Draw the losses of all trials in their order, and how much each parameter matters (PED-ANOVA)."""
    import optuna
    from optuna.visualization import matplotlib as optuna_plots

    if sum(trial.state == optuna.trial.TrialState.COMPLETE for trial in trials) < COMPARABLE:
        for name in PICTURES:
            plots.note(folder / name, f"{len(trials)} trials: nothing to compare")
        return
    # Of a copy in memory: Optuna draws studies, and this one's storage may be gone.
    study = optuna.create_study()
    study.add_trials(trials)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of being experimental, and of trials that hardly differ
        _save(optuna_plots.plot_optimization_history(study, target_name="validation loss"), folder / "history.png")
        _save(optuna_plots.plot_param_importances(study, target_name="validation loss"), folder / "importance.png")


def _save(axes: Axes, path: Path) -> None:
    from matplotlib import pyplot

    figure: Any = axes.figure
    figure.set_size_inches(8, 4.5)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    pyplot.close(figure)


def _encode(value: Any) -> Any:
    """Optuna's categories are scalars; a list becomes JSON."""
    return json.dumps(value) if isinstance(value, list | tuple) else value


def _decode(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and value.startswith("[") else value
