"""Forecasting of time series: the next value from a window of previous values."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnistflow.arrays import Array, Outputs
from mnistflow.errors import ConfigError
from mnistflow.runtime.backend import jit_compile
from mnistflow.tasks import identity
from mnistflow.tasks.plots import charts, data_sets
from mnistflow.tasks.signed_rank import signed_rank_test
from mnistflow.tasks.task import Measurement, PairedTest, Parity, Signature, Task

if TYPE_CHECKING:
    import keras

    from mnistflow.models.networks.network import Network
    from mnistflow.splits import Dataset


LAGS = 4  # naive forecasts look back a quarter of the series at most


class Forecasting(Task):
    """Windows float32 `[batch, steps, 1]`, of magnitude about 1, to the next value float32 `[batch, 1]`."""

    identity = identity.FORECASTING
    chronological = True

    def signature(self, input_shape: tuple[int, ...], classes: tuple[str, ...]) -> Signature:
        return Signature("windows", "float32", input_shape, "next_values", (1,))

    def plot_examples(self, path: Path, data: Dataset) -> None:
        data_sets.series(path, data)

    def build(self, family: Network, signature: Signature) -> keras.Model:
        import keras

        windows = keras.Input(signature.input_shape, dtype=signature.input_dtype, name=signature.input_name)
        head = keras.layers.Dense(1, dtype="float32", name=signature.output_name)
        return keras.Model(windows, head(family.body(windows)))

    def compile(self, model: keras.Model, optimizer: keras.Optimizer, label_smoothing: float = 0.0) -> None:
        import keras

        if label_smoothing:
            raise ConfigError(f"train.label_smoothing: task {self.name} has no classes", "Set it to 0.")
        metrics = [keras.metrics.MeanSquaredError("mse"), keras.metrics.MeanAbsoluteError("mae")]
        model.compile(optimizer, loss="mse", metrics=metrics, jit_compile=jit_compile())

    def compare_outputs(self, expected: Outputs, actual: Outputs, tie: float) -> Parity:
        """Compare values only, because predictions are not classes."""
        return Parity(float(np.abs(expected - actual).max()), 0, len(expected))

    def measure(self, outputs: Outputs, targets: Array, classes: tuple[str, ...]) -> Measurement:
        """Compute the errors, and beside them those of naive forecasts of the same series; see `naive_errors`."""
        errors = _errors(outputs, targets)
        mse = self.score(outputs, targets)
        metrics = {
            "mse": mse,
            "loss": mse,
            "mae": float(np.abs(errors).mean()),
            "r2": _r2(mse, targets),
            **naive_errors(targets),
        }
        return Measurement(metrics, {}, {})

    def score(self, outputs: Outputs, targets: Array) -> float:
        return float((_errors(outputs, targets) ** 2).mean())

    def paired_test(self, candidate: Outputs, champion: Outputs, targets: Array) -> PairedTest:
        """Wilcoxon signed-rank test on pairs of absolute errors."""
        own, theirs = (np.abs(_errors(outputs, targets)) for outputs in (candidate, champion))
        return signed_rank_test("Wilcoxon signed-rank", own, theirs)

    def report(
        self, folder: Path, inputs: Array, outputs: Outputs, targets: Array, classes: tuple[str, ...], mistakes: int
    ) -> None:
        """Write table `predictions.csv` and plot `predictions.png`: predictions against true values, and errors."""
        _write_predictions(folder / "tables/predictions.csv", outputs[:, 0], targets)
        charts.forecast(folder / "pictures/predictions.png", outputs[:, 0], targets)


def naive_errors(targets: Array) -> dict[str, float]:
    """Return the mean squared errors of forecasts that need no model, of which a model must be better.

    Persistence, `mse_persistence`, repeats the value before. The seasonal naive forecast, `mse_seasonal`, repeats the
    value `season` steps before, for the season of at least two steps that has the lowest error on these targets
    themselves, which flatters it. Empty for fewer than eight targets.

    Args:
        targets: one after the other in time, `[n]`.
    """
    series = targets.astype(np.float64)
    lags = range(1, len(series) // LAGS + 1)
    errors = {lag: float(((series[lag:] - series[:-lag]) ** 2).mean()) for lag in lags}
    if len(errors) < 2:
        return {}
    persistence = errors.pop(1)
    season = min(errors, key=errors.__getitem__)
    return {"mse_persistence": persistence, "mse_seasonal": errors[season], "season": float(season)}


def _write_predictions(path: Path, predicted: Array, targets: Array) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["step", "truth", "prediction"])
        rows.writerows((step, *pair) for step, pair in enumerate(zip(targets, predicted, strict=True)))


def _r2(mse: float, targets: Array) -> float:
    """Return the coefficient of determination; 0 or, without errors, 1 if the targets are constant."""
    variance = float(targets.var(dtype=np.float64))
    return 1 - mse / variance if variance else float(not mse)


def _errors(outputs: Outputs, targets: Array) -> Array:
    return outputs[:, 0].astype(np.float64) - targets
