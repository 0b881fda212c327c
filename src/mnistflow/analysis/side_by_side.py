"""Side-by-side comparison of registered versions: metrics with intervals, and the parameters in which they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mnistflow.errors import RegistryError
from mnistflow.metric_names import EPOCHS, FILE_MEGABYTES, LATENCY_MS, PARAMETERS, TRAIN_SECONDS
from mnistflow.registry import versions
from mnistflow.registry.versions import Version
from mnistflow.tasks.identity import Headline
from mnistflow.tasks.intervals import Interval, wilson
from mnistflow.tracking.records import StoredRun
from mnistflow.tracking.runs import missing
from mnistflow.tracking.store import open_store

COSTS = (PARAMETERS, FILE_MEGABYTES, LATENCY_MS, TRAIN_SECONDS, EPOCHS)
TEST_EXAMPLES = "data.test_examples"  # parameter of a run


@dataclass(frozen=True)
class Measured:
    """A metric of one version.

    Attributes:
        interval: 95 % confidence interval; None unless the metric is a share of correct predictions.
    """

    value: float
    interval: Interval | None = None


@dataclass(frozen=True)
class SideBySide:
    """Versions of one model beside each other.

    Attributes:
        versions: in the order of the columns.
        runs: of the versions, in the same order.
        metrics: name -> value of each version; None where a version has none.
        parameters: dotted key -> value of each version, of those that differ; empty where a version has none.
    """

    headline: Headline
    versions: tuple[Version, ...]
    runs: tuple[StoredRun, ...]
    metrics: Mapping[str, tuple[Measured | None, ...]]
    parameters: Mapping[str, tuple[str, ...]]


def compare(name: str, numbers: Sequence[int]) -> SideBySide:
    """Compare versions of a registered model.

    Args:
        numbers: of the versions; those that are named twice are compared once.

    Raises:
        RegistryError: there are fewer than two of them, one does not exist, or its run was deleted from MLflow.
    """
    chosen = tuple(versions.find(name, number) for number in dict.fromkeys(numbers))
    if len(chosen) < 2:
        raise RegistryError("a comparison needs two versions at least", "`mnistflow leaderboard` lists the versions.")
    runs = tuple(map(_run_of, chosen))
    headline = chosen[0].headline
    return SideBySide(
        headline=headline,
        versions=chosen,
        runs=runs,
        metrics=_metrics(headline, runs),
        parameters=differing([run.parameters for run in runs]),
    )


def differing(parameters: Sequence[Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    """Return the parameters that are not the same in all mappings, each with its values in that order."""
    keys = sorted({key for one in parameters for key in one})
    values = {key: tuple(one.get(key, "") for one in parameters) for key in keys}
    return {key: found for key, found in values.items() if len(set(found)) > 1}


def score_interval(run: StoredRun, headline: Headline) -> Interval | None:
    """Return the 95 % interval of a run's headline metric; None unless it is a share of correct predictions.

    Runs of older versions have no number of test examples, which then follows from accuracy and errors, if there are
    any.
    """
    score, errors = run.metrics.get(f"test_{headline.name}"), run.metrics.get("test_errors")
    if not headline.is_share or score is None or errors is None:
        return None
    examples = run.parameters.get(TEST_EXAMPLES, "")
    rows = int(examples) if examples.isdigit() else round(errors / (1 - score)) if score < 1 else 0
    return wilson(int(errors), rows) if rows else None


def _run_of(version: Version) -> StoredRun:
    run = open_store().run(version.run_id)
    if run is None:
        error = missing(version.run_id)
        raise RegistryError(f"{version.title}: {error.problem}", error.fix)
    return run


def _metrics(headline: Headline, runs: Sequence[StoredRun]) -> dict[str, tuple[Measured | None, ...]]:
    """Return the metrics of the ONNX files, and the cost of training; without single corruptions and classes."""
    score = f"test_{headline.name}"
    names = {key for run in runs for key in run.metrics if key.startswith("test_") and key.count(".") == 0}
    recalls = {key for run in runs for key in run.metrics if key.startswith("test_recall.")}
    ordered = [score, *sorted(names - {score}), *sorted(recalls), *COSTS]
    table = {
        name: tuple(Measured(run.metrics[name]) if name in run.metrics else None for run in runs) for name in ordered
    }
    table[score] = tuple(
        Measured(run.metrics[score], score_interval(run, headline)) if score in run.metrics else None for run in runs
    )
    return {name: values for name, values in table.items() if any(values)}
