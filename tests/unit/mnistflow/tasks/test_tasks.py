"""What tasks measure and test, by hand."""

import numpy as np
import pytest
from checkouts import ROOT
from scipy.stats import wilcoxon

from mnistflow import config, tasks
from mnistflow.arrays import Outputs
from mnistflow.errors import ConfigError
from mnistflow.evaluation.evaluate import Evaluation
from mnistflow.models import ModelConfig, families
from mnistflow.registry.gate.verdict import Comparison, decide
from mnistflow.tasks.task import PairedTest

POLICY = config.load(ROOT / "params.yaml").gate
FORECASTING, BINARY = tasks.get("forecasting"), tasks.get("binary_classification")


def column(*values: float) -> Outputs:
    return np.array(values, np.float32)[:, None]


def forecaster(mse: float) -> Evaluation:
    return Evaluation({"mse": mse}, {}, {}, {}, 10**6, "t", "m")


def champion(mse: float, p_value: float, favours_candidate: bool) -> Comparison:
    return Comparison(1, mse, {}, PairedTest("Wilcoxon signed-rank", 60, 40, p_value, favours_candidate), level=0.02)


@pytest.mark.parametrize(
    ("candidate", "comparison", "decision", "reason"),
    [
        (0.003, None, "promote", "no champion yet"),
        (0.02, None, "reject", "mse 0.0200 is above gate.max_mse"),
        (float("nan"), None, "reject", "max_mse"),
        (0.003, champion(0.004, 0.001, True), "promote", "significantly better"),
        (0.003, champion(0.004, 0.2, True), "hold", "not significantly"),
        (0.003, champion(0.004, 0.001, False), "hold", "not better"),
        (0.003, champion(0.002, 0.001, True), "hold", "not better"),
    ],
)
def test_the_gate_asks_for_a_small_error(candidate, comparison, decision, reason) -> None:
    verdict = decide(forecaster(candidate), FORECASTING.headline, comparison, POLICY)
    assert verdict.decision == decision
    assert reason in "; ".join(verdict.reasons)


def test_errors_of_forecasts_by_hand() -> None:
    measured = FORECASTING.measure(column(1, 2, 5), np.array([1, 1, 3], np.float32), ())
    assert measured.metrics == pytest.approx({"mse": 5 / 3, "loss": 5 / 3, "mae": 1, "r2": 1 - 5 / (8 / 3)})
    assert measured.by_class == {}


@pytest.mark.parametrize(("forecast", "r2"), [((2, 2, 2), 1), ((2, 2, 3), 0)])
def test_r2_of_constant_values_is_finite(forecast, r2) -> None:
    assert FORECASTING.measure(column(*forecast), np.full(3, 2, np.float32), ()).metrics["r2"] == r2


def test_naive_forecasts_repeat_the_value_before_or_that_of_a_season_ago() -> None:
    season = np.tile(np.array([0, 1, 3], np.float32), 8)
    measured = FORECASTING.measure(season[:, None] + 0.5, season, ()).metrics
    assert measured["mse"] == pytest.approx(0.25)
    steps = np.diff(season)
    assert measured["mse_persistence"] == pytest.approx((steps**2).mean())
    assert (measured["mse_seasonal"], measured["season"]) == (0, 3)


def test_wilcoxon_compares_absolute_errors_row_by_row() -> None:
    generator = np.random.default_rng(0)
    targets = generator.normal(size=50).astype(np.float32)
    good, bad = (column(*(targets + generator.normal(0, size, 50))) for size in (0.1, 0.5))
    forwards, backwards = (FORECASTING.paired_test(*pair, targets) for pair in ((good, bad), (bad, good)))
    errors = [np.abs(outputs[:, 0] - targets) for outputs in (good, bad)]
    assert forwards.p_value == pytest.approx(wilcoxon(*errors).pvalue)
    assert (forwards.wins, forwards.losses) == (backwards.losses, backwards.wins)
    assert forwards.wins == (errors[0] < errors[1]).sum()
    assert forwards.favours_candidate
    assert not backwards.favours_candidate
    same = FORECASTING.paired_test(good, good, targets)
    assert (same.wins, same.losses, same.p_value, same.favours_candidate) == (0, 0, 1.0, False)


def test_a_probability_is_judged_as_two_classes() -> None:
    outputs, targets = column(0.1, 0.4, 0.35, 0.8), np.array([0, 0, 1, 1])
    measured = BINARY.measure(outputs, targets, ("a", "b"))
    assert measured.metrics["accuracy"] == 0.75
    assert measured.metrics["roc_auc"] == 0.75  # of the four pairs of classes one is in the wrong order
    assert measured.metrics["loss"] == pytest.approx(-np.log([0.9, 0.6, 0.35, 0.8]).mean(), abs=1e-6)
    assert measured.by_class == {"a": 1.0, "b": 0.5}
    tested = BINARY.paired_test(column(0.1, 0.4, 0.6, 0.8), outputs, targets)
    assert (tested.wins, tested.losses) == (1, 0)


@pytest.mark.parametrize(
    ("family", "task", "shape", "problem"),
    [
        ("rnn", BINARY, (100,), "rnn needs inputs of 2 dimensions, but those of this data set have shape [100]"),
        ("svm", BINARY, (100,), "svm predicts class probabilities, which task binary_classification does not"),
        ("forest", FORECASTING, (10, 1), "forest predicts class probabilities, which task forecasting does not"),
        ("attention", FORECASTING, (10, 1), "attention divides inputs into patches of 7 by 7 (model.attention.patch)"),
    ],
)
def test_a_family_that_cannot_learn_from_such_data_names_those_that_can(family, task, shape, problem) -> None:
    with pytest.raises(ConfigError) as error:
        ModelConfig(family=family).require_compatible(task, shape)
    assert error.value.problem.startswith(f"model.family: {problem}")
    able = error.value.fix.removeprefix("Choose one of: ").rstrip(".").split(", ")
    assert able == ModelConfig().compatible(task, shape)
    assert {"linear", "mlp"} < set(able)
    assert not {family, "svm", "tree", "forest", "boosting"} & set(able)


def test_every_family_that_predicts_can_learn_from_images() -> None:
    predicting = [name for name in families() if not ModelConfig().parameters_of(name).generates]
    assert ModelConfig().compatible(tasks.get("image_classification"), (28, 28)) == predicting
