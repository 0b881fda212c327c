"""Intervals and fronts of finished runs."""

import pytest
from PIL import Image

from mnistflow import comparison
from mnistflow.comparison import Contender
from mnistflow.tasks.task import Headline

ACCURACY = Headline("accuracy", is_share=True)


def contender(name: str, score: float, latency: float | None = 1.0) -> Contender:
    return Contender(name, "run", score, None, None, None, 10, 0.1, latency, 1.0, 3, 2)


@pytest.mark.parametrize(
    ("errors", "rows", "low", "high"),
    [  # Newcombe (1998), table I, method 3
        (263 - 81, 263, 0.2553, 0.3662),
        (148 - 15, 148, 0.0624, 0.1605),
        (20, 20, 0.0, 0.1611),
        (28, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_wilsons(errors: int, rows: int, low: float, high: float) -> None:
    assert comparison.wilson(errors, rows) == pytest.approx((low, high), abs=5e-5)


def test_the_front_holds_what_no_cheaper_one_reaches() -> None:
    contenders = [contender(*pair) for pair in (("a", 0.5), ("b", 0.9), ("c", 0.7), ("d", 0.95), ("e", 0.9))]
    costs = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0, "e": 2.0}
    assert [one.name for one in comparison.undominated(contenders, costs, ACCURACY)] == ["a", "b", "d"]
    assert [one.name for one in comparison.undominated(contenders, {"c": 1.0}, ACCURACY)] == ["c"]
    error = Headline("mse", larger_is_better=False)
    assert [one.name for one in comparison.undominated(contenders, costs, error)] == ["a"]


def test_the_picture_bears_a_run_whose_latency_nobody_measured(tmp_path) -> None:
    comparison.draw(tmp_path / "pareto.png", [contender("a", 0.5), contender("b", 0.7, None)], ACCURACY)
    assert Image.open(tmp_path / "pareto.png").width > 800
