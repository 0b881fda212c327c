"""Intervals and fronts of finished runs."""

from typing import Any

import pytest
from PIL import Image

from mnistflow.analysis import comparison
from mnistflow.analysis.comparison import FamilySummary, Result
from mnistflow.tasks.identity import Headline

ACCURACY = Headline("accuracy", is_share=True)


def result(family: str, score: float, **changes: Any) -> Result:
    known = {"score": score, "interval": None, "errors": None, "robust_score": None, "latency_ms": 1.0}
    costs = {"parameters": 10, "file_megabytes": 0.1, "train_seconds": 1.0, "epochs": 3, "best_epoch": 2}
    return Result(**{"family": family, "seed": 0, "run_id": "run", **known, **costs, **changes})


def family(name: str, score: float, **changes: Any) -> FamilySummary:
    return FamilySummary.of(name, [result(name, score, **changes)])


def test_a_family_is_the_mean_of_its_scores_and_the_median_of_its_costs() -> None:
    first = result("a", 0.8, errors=20, interval=(0.7, 0.9), train_seconds=1.0, epochs=3)
    second = result("a", 0.9, errors=11, interval=(0.8, 1.0), train_seconds=9.0, epochs=5)
    third = result("a", 1.0, errors=2, interval=(0.9, 1.0), train_seconds=2.0, epochs=4)
    other = result("b", 0.95)
    best, repeated = comparison.rank([first, other, second, third], ACCURACY)
    assert (best.name, best.score, best.spread, best.interval, best.results) == ("b", 0.95, None, None, (other,))
    assert (repeated.name, repeated.results) == ("a", (first, second, third))
    assert (repeated.score, repeated.spread, repeated.errors) == pytest.approx((0.9, 0.1, 11))
    assert repeated.interval == pytest.approx((0.8, 29 / 30))
    assert (repeated.train_seconds, repeated.epochs, repeated.latency_ms) == (2.0, 4, 1.0)


def test_the_front_holds_what_no_cheaper_one_reaches() -> None:
    families = [family(*pair) for pair in (("a", 0.5), ("b", 0.9), ("c", 0.7), ("d", 0.95), ("e", 0.9))]
    costs = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0, "e": 2.0}
    assert [one.name for one in comparison.undominated(families, costs, ACCURACY)] == ["a", "b", "e", "d"]
    assert [one.name for one in comparison.undominated(families, {"c": 1.0}, ACCURACY)] == ["c"]
    error = Headline("mse", larger_is_better=False)
    assert [one.name for one in comparison.undominated(families, costs, error)] == ["a"]


def test_the_picture_bears_a_run_whose_latency_nobody_measured(tmp_path) -> None:
    comparison.draw(tmp_path / "pareto.png", [family("a", 0.5), family("b", 0.7, latency_ms=None)], ACCURACY)
    assert Image.open(tmp_path / "pareto.png").width > 800
