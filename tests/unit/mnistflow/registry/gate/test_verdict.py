"""The gate: who becomes champion."""

from dataclasses import replace
from math import comb, nan

import numpy as np
import pytest
from checkouts import ROOT
from scipy.stats import binomtest

from mnistflow import config
from mnistflow.evaluation.evaluate import Evaluation
from mnistflow.registry.gate.verdict import Comparison, GoldenComparison, decide
from mnistflow.tasks.classification import calibration_error
from mnistflow.tasks.image_classification import ImageClassification
from mnistflow.tasks.task import PairedTest

POLICY = config.load(ROOT / "params.yaml").gate
TASK = ImageClassification()


def candidate(accuracy: float = 0.99, recall: float = 0.99, size: int = 10**6, images: int = 10_000) -> Evaluation:
    return Evaluation(
        {"accuracy": accuracy}, {"0": 0.99, "1": recall}, {"0": images // 2, "1": images // 2}, {}, size, "t", "m"
    )


def champion(wins: int, losses: int, p_value: float, recall: float = 0.99) -> Comparison:
    return Comparison(
        1,
        0.98,
        {"0": 0.99, "1": recall},
        PairedTest("McNemar exact", wins, losses, p_value, wins > losses),
        level=POLICY.significance / 2,
    )


@pytest.mark.parametrize(
    ("evaluation", "comparison", "decision", "reason"),
    [
        (candidate(), None, "promote", "no champion yet"),
        (candidate(accuracy=0.94), None, "reject", "min_accuracy"),
        (candidate(accuracy=nan), None, "reject", "min_accuracy"),
        (candidate(recall=0.89), None, "reject", "class 1"),
        (candidate(accuracy=0.948), None, "promote", "no champion yet"),
        (candidate(accuracy=0.948, images=10**6), None, "reject", "1000000 examples"),
        # Few test images: one or two errors are no evidence against a model of 95 %, half of them are.
        (candidate(accuracy=6 / 8, recall=2 / 4, images=8), None, "promote", "no champion yet"),
        (candidate(accuracy=4 / 8, recall=2 / 4, images=8), None, "reject", "min_accuracy"),
        (candidate(accuracy=5 / 6, recall=0.0, images=6), None, "reject", "recall of class 1"),
        (candidate(size=51_000_000), None, "reject", "max_file_megabytes"),
        (candidate(), champion(30, 10, 0.002), "promote", "significantly better"),
        (candidate(), champion(10, 10, 1.0), "hold", "not better"),
        (candidate(), champion(0, 0, 1.0), "hold", "not better"),
        (candidate(), champion(10, 30, 0.002), "hold", "not better"),
        (candidate(), champion(12, 10, 0.8), "hold", "not significantly"),
        (candidate(), champion(30, 10, POLICY.significance), "hold", "not significantly"),
        (candidate(recall=0.97), champion(60, 10, 1e-9, recall=0.99), "hold", "more than gate.max_recall_drop 0.01"),
        (candidate(accuracy=0.5), champion(60, 10, 1e-9), "reject", "min_accuracy"),
    ],
)
def test_decisions(evaluation, comparison, decision, reason) -> None:
    verdict = decide(evaluation, TASK.headline, comparison, POLICY)
    assert verdict.decision == decision
    assert reason in "; ".join(verdict.reasons)


def with_golden(wins: int, losses: int, on_golden: tuple[int, int], score: float = 0.98) -> Comparison:
    """Return the comparison of a candidate, whose accuracy is 0.99 on the test split, with exact p-values."""
    won, lost = on_golden
    p_values = [binomtest(a, a + b).pvalue for a, b in ((wins, losses), on_golden)]
    golden = GoldenComparison(
        "g", 1000, 0.9 + (won - lost) / 1000, 0.9, PairedTest("McNemar exact", won, lost, p_values[1], won > lost)
    )
    return replace(champion(wins, losses, p_values[0]), score=score, golden=golden)


@pytest.mark.parametrize(
    ("comparison", "decision", "reason"),
    [
        (with_golden(5, 6, (40, 5), score=0.9901), "promote", "better on the golden set"),
        (with_golden(5, 25, (40, 5), score=0.992), "hold", "accuracy drops by 0.0020 on the test split"),
        (with_golden(30, 5, (10, 11)), "promote", "better on the test split"),
        (with_golden(30, 5, (10, 12)), "hold", "accuracy drops by 0.0020 on the golden set"),
        (with_golden(30, 5, (40, 5)), "promote", "significantly better: "),
        (with_golden(5, 5, (5, 5), score=0.99), "hold", "not better"),
        # Either split can promote, so each needs half of the level: p = 0.0386 would do without a golden set.
        (with_golden(17, 6, (5, 5)), "hold", "not significantly"),
        (replace(with_golden(17, 6, (5, 5)), golden=None), "promote", "significantly better"),
    ],
)
def test_a_golden_set_may_promote_and_may_hold(comparison: Comparison, decision: str, reason: str) -> None:
    verdict = decide(candidate(), TASK.headline, comparison, POLICY)
    assert verdict.decision == decision
    assert reason in "; ".join(verdict.reasons)


def one_hot(labels: list[int]) -> np.ndarray:
    return np.eye(3, dtype=np.float32)[labels]


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (8, 2), (2, 8), (25, 11)])
def test_mcnemar_is_the_binomial_sum(wins, losses) -> None:
    targets = np.zeros(wins + losses + 5, int)
    better = one_hot([0] * wins + [1] * losses + [0] * 5)
    worse = one_hot([1] * wins + [0] * losses + [0] * 5)
    result = TASK.paired_test(better, worse, targets)
    n, k = wins + losses, max(wins, losses)
    tail = sum(comb(n, i) for i in range(k, n + 1)) / 2**n
    assert (result.wins, result.losses) == (wins, losses)
    assert result.p_value == pytest.approx(min(1.0, 2 * tail))


def test_calibration_error_by_hand() -> None:
    probabilities = np.array([[0.98, 0.02], [0.94, 0.06], [0.3, 0.7]], np.float32)
    # Bins of width 1/15: two examples in the last one, with confidence 0.96 and accuracy 1/2; a wrong one at 0.7.
    error = (2 * (0.96 - 0.5) + 0.7) / 3
    assert calibration_error(probabilities, np.array([0, 1, 0])) == pytest.approx(error, abs=1e-6)


def test_measures_by_hand() -> None:
    outputs = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.4, 0.1], [0.2, 0.2, 0.6]], np.float32)
    measured = TASK.measure(outputs, np.array([0, 1, 1, 2]), ("a", "b", "c"))
    assert measured.metrics["accuracy"] == 0.75
    assert measured.metrics["errors"] == 1
    assert measured.metrics["top_2_accuracy"] == 1.0
    assert measured.metrics["loss"] == pytest.approx(-np.log([0.7, 0.6, 0.4, 0.6]).mean(), abs=1e-6)
    assert measured.by_class == {"a": 1.0, "b": 0.5, "c": 1.0}


def test_ties_may_swap_and_nothing_else() -> None:
    expected = np.array([[0.5, 0.5 - 1e-6, 0], [0.6, 0.4, 0]], np.float32)
    swapped = expected[:, [1, 0, 2]]
    parity = TASK.compare_outputs(expected, swapped, tie=1e-5)
    assert parity.disagreements == 1
    assert parity.max_gap == pytest.approx(0.2, abs=1e-6)
