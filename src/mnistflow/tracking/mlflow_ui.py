"""MLflow's UI: addresses of its pages, and the view of a data set's runs that they open with.

The UI reads the sort key and the columns of a shared view from a tag of the experiment. An address could give the sort
key, but not the columns.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

from mnistflow.checkout import service_record
from mnistflow.errors import RegistryError
from mnistflow.metric_names import LATENCY_MS, PARAMETERS, TRAIN_SECONDS
from mnistflow.paths import Paths
from mnistflow.tracking.rest_store import RestStore

logger = logging.getLogger(__name__)

PORT = 5000
VIEW = "leaderboard"
_VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
# Without it, MLflow shows its pages of language models to who has not chosen otherwise before.
_TRAINING = {"workflowType": "machine_learning"}


def record_address(paths: Paths, address: str) -> None:
    """Let other commands find the UI that this process starts."""
    service_record.add(_record(paths), address)


def address(paths: Paths, tracking_uri: str) -> tuple[str, bool]:
    """Return the URL of the UI, and whether it runs; where none does, the URL that `mnistflow ui` will have."""
    if tracking_uri.startswith(("http://", "https://")):
        return tracking_uri.rstrip("/"), True
    running = service_record.running(_record(paths))
    return (running[0], True) if running else (f"http://127.0.0.1:{PORT}", False)


def runs_page(ui: str, experiment_id: str | None) -> str:
    """Return the URL of the runs of an experiment, in the shared view; of all experiments for None."""
    if experiment_id is None:
        return f"{ui}/#/experiments?{urlencode(_TRAINING)}"
    return f"{ui}/#/experiments/{experiment_id}/runs?{urlencode({**_TRAINING, 'viewStateShareKey': VIEW})}"


def run_page(ui: str, experiment_id: str, run_id: str) -> str:
    """Return the URL of a run."""
    return f"{ui}/#/experiments/{experiment_id}/runs/{run_id}?{urlencode(_TRAINING)}"


def version_page(ui: str, model: str, number: int) -> str:
    """Return the URL of a registered version."""
    return f"{ui}/#/models/{quote(model, safe='')}/versions/{number}?{urlencode(_TRAINING)}"


def comparison_page(ui: str, run_ids: Sequence[str], experiment_ids: Sequence[str]) -> str:
    """Return the URL of MLflow's comparison of runs."""
    runs, experiments = (
        json.dumps(list(dict.fromkeys(ids)), separators=(",", ":")) for ids in (run_ids, experiment_ids)
    )
    return f"{ui}/#/compare-runs?runs={quote(runs)}&experiments={quote(experiments)}&{urlencode(_TRAINING)}"


def share_view(ui: str, experiment_id: str, metric: str, larger_is_better: bool) -> None:
    """Let the runs of an experiment be sorted by a metric, best first, if MLflow allows it.

    Args:
        ui: URL of an MLflow server that answers.
    """
    score = f"metrics.`{metric}`"
    columns = [
        score,
        "metrics.`test_errors`",
        "metrics.`test_loss`",
        "params.`model.family`",
        "params.`train.epochs`",
        "params.`prepare.train_limit`",
        *(f"metrics.`{name}`" for name in (PARAMETERS, LATENCY_MS, TRAIN_SECONDS)),
        "attributes.`Models`",
    ]
    view = {
        "searchFilter": "tags.`mlflow.parentRunId` IS NULL",  # no trials
        "orderByKey": score,
        "orderByAsc": not larger_is_better,
        "selectedColumns": columns,
        "columnOrder": columns,
        "runsHiddenMode": "FIRST_20_RUNS",
    }
    try:
        RestStore(ui).set_experiment_tag(experiment_id, _VIEW_TAG, json.dumps(view))
    except RegistryError as error:
        logger.debug("MLflow stores no view of experiment %s: %s", experiment_id, error)


def _record(paths: Paths) -> Path:
    return paths.mlflow / "ui.json"
