"""Notebooks: runs, data, the champion, and a plot of runs, for Python outside of the pipeline.

`import mnistflow` has these functions, and imports what they need when they are called. They work on the checkout of
the current folder. The first call sets the environment of the tools used, so a process works on one checkout.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mnistflow import environment, files, splits
from mnistflow.analysis import leaderboard, side_by_side
from mnistflow.analysis.leaderboard import COLUMNS, Filters, Row
from mnistflow.arrays import Array, Outputs
from mnistflow.checkout import stage_outputs
from mnistflow.data.config import FetchConfig
from mnistflow.errors import DataError, RegistryError
from mnistflow.paths import Paths
from mnistflow.registry import dataset_choice, versions
from mnistflow.registry.repository import publisher
from mnistflow.runtime import onnx_session
from mnistflow.splits import Dataset
from mnistflow.tasks.identity import Headline
from mnistflow.yaml_files import read as read_yaml

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from onnxruntime import InferenceSession


@dataclass(frozen=True, eq=False)
class Champion:
    """The published champion of a data set.

    Attributes:
        name: of the registered model.
        version: its number.
        classes: names of the classes 0, 1, ...; empty for a model that predicts numbers.
        metrics: on the test split, by their names.
        run_id: MLflow run that has trained it.
        session: of onnxruntime, on the CPU.
    """

    name: str
    version: int
    classes: tuple[str, ...]
    metrics: Mapping[str, float]
    run_id: str
    session: InferenceSession

    def predict(self, inputs: Array) -> Outputs:
        """Return outputs, float32 `[n, *output_shape]`, for inputs `[n, *input_shape]`.

        For images, inputs are uint8 `[n, height, width]`, and outputs are the probabilities of the classes.
        """
        return onnx_session.predict(self.session, inputs)


def find_runs(
    dataset: str | None = None,
    *,
    experiment: str | None = None,
    family: str | None = None,
    since: datetime | None = None,
    tags: Mapping[str, str] | None = None,
    limit: int = 1000,
) -> list[dict[str, Any]]:
    """Return the evaluated runs of a data set, best first, each as a row of a data frame.

    A row has the attributes of `leaderboard.Row`, and what the run has logged as `metrics.<name>` and `params.<name>`.
    `low` and `high` are the ends of the 95 % interval of the score; None unless it is a share of correct predictions.

    Args:
        dataset: name of the data set; None for that of params.yaml.
        experiment: of MLflow; None for that of the data set.
        family: name of a model family; None for all.
        since: earliest start; None for any.
        tags: values that a run's tags in MLflow must have.
        limit: how many runs are read at most.

    Raises:
        ConfigError: no checkout at or above the current folder, or no such data set or experiment.
    """
    _, name = _locate(dataset)
    since_ms = int(since.timestamp() * 1000) if since else None
    headline = versions.task_of(name).headline
    filters = Filters(experiment, family, since_ms, tags or {}, limit)
    return [_as_row(row, headline) for row in leaderboard.rank(name, filters)]


def load_data(dataset: str | None = None) -> Dataset:
    """Return the splits that stage prepare has left in the checkout: `.train`, `.validation` and `.test`.

    Each has `inputs` `[n, *input_shape]`, uint8 for images, and `targets` `[n]`. A warning is issued when they do not
    belong to the present params.yaml and dvc.lock, as after `git checkout` of another branch.

    Args:
        dataset: name of the data set; None for that of params.yaml.

    Raises:
        ConfigError: no checkout at or above the current folder, or no such data set.
        DataError: stage prepare has not run, or has left another data set.
    """
    paths, name = _locate(dataset)
    data = splits.load(paths.prepared)
    if data.name != name:
        raise DataError(
            f"{paths.prepared} has the data set {data.name}, not {name}",
            f"`mnistflow fetch -S fetch.dataset={name}`, then `mnistflow prepare -S fetch.dataset={name}` writes it.",
        )
    if reason := stage_outputs.mismatch(paths, "prepare"):
        fix = "`mnistflow retrain` without overrides replaces it"
        warnings.warn(f"{paths.prepared} does not match the checkout: {reason}; {fix}", stacklevel=2)
    return data


def load_champion(dataset: str | None = None) -> Champion:
    """Return the champion that the model repository publishes, ready to predict.

    Args:
        dataset: name of the data set; None for that of params.yaml.

    Raises:
        ConfigError: no checkout at or above the current folder, or no such data set.
        RegistryError: no version is published.
    """
    paths, dataset_name = _locate(dataset)
    name = versions.model_name(dataset_name)
    number = publisher.published_champion(paths, name)
    if number is None:
        raise RegistryError(f"{name} has no published champion", "`mnistflow retrain` trains one.")
    folder = paths.models / name / str(number)
    manifest = files.read_json(folder / "model.json")
    return Champion(
        name=name,
        version=number,
        classes=tuple(manifest["classes"]),
        metrics=manifest["metrics"],
        run_id=manifest["run_id"],
        session=onnx_session.open_session(folder / "model.onnx"),
    )


def plot_runs(runs: Sequence[Mapping[str, Any]]) -> Axes:
    """Plot the scores of runs with their 95 % intervals, the best on top; partial runs are grey.

    Args:
        runs: rows of `find_runs`; without any, the plot is empty.

    Returns:
        The axes of a new figure of pyplot.
    """
    import matplotlib.pyplot as plt

    axes: Axes
    _, axes = plt.subplots(figsize=(8, 0.4 * len(runs) + 1.2), layout="constrained")
    for place, run in enumerate(reversed(runs)):
        low, high = (run["score"] if run[end] is None else run[end] for end in ("low", "high"))
        colour = "grey" if run["partial"] else "tab:blue"
        error = [[run["score"] - low], [high - run["score"]]]
        axes.errorbar(run["score"], place, xerr=error, marker="o", capsize=3, color=colour)
    labels = [f"{run['name']} ({', '.join(run['partial'])})" if run["partial"] else run["name"] for run in runs]
    axes.set_yticks(range(len(runs)), labels[::-1])
    if runs:
        axes.set_xlabel(f"test {runs[0]['metric']} with its 95 % interval")
    return axes


def _locate(dataset: str | None) -> tuple[Paths, str]:
    paths = Paths.locate()
    environment.configure(paths)
    fetch = FetchConfig.validated(read_yaml(paths.params).get("fetch"), f"{paths.params}: fetch")
    return paths, dataset_choice.choose(paths, fetch, dataset)


def _as_row(row: Row, headline: Headline) -> dict[str, Any]:
    low, high = side_by_side.score_interval(row.run, headline) or (None, None)
    return {
        **row.to_json(COLUMNS),
        "low": low,
        "high": high,
        **{f"metrics.{name}": value for name, value in row.run.metrics.items()},
        **{f"params.{name}": value for name, value in row.run.parameters.items()},
    }
