"""Wrong promotions of a year, with one level for every comparison and with alpha spending; and what good models lose.

Each candidate differs from the champion on some test images; one that is no better wins half of them. The levels are
those of the third year of regular comparisons. With a golden set, the gate itself decides (`gate.verdict`): a win on
one of the two splits promotes, unless the other one loses more than the margin.

    python benchmarks/gate.py
"""

import argparse
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
from numpy.typing import NDArray
from orchestration import ROOT
from scipy.stats import binom

from mnistflow import config
from mnistflow.evaluation.evaluate import Evaluation
from mnistflow.registry.gate import alpha_spending
from mnistflow.registry.gate.alpha_spending import Spent
from mnistflow.registry.gate.config import GateConfig
from mnistflow.registry.gate.verdict import Comparison, GoldenComparison, decide
from mnistflow.tasks.image_classification import ImageClassification
from mnistflow.tasks.task import PairedTest

START = datetime(2026, 1, 1, tzinfo=UTC)
BETTER = (0.1, 0.2, 0.3)  # points of accuracy
TEST_IMAGES, DIFFERING = 10_000, 60
GOLDEN_IMAGES, GOLDEN_DIFFERING = 1000, 60  # harder images: the models differ on more of them
GOLDEN_BETTER = (1, 2, 3)  # points of accuracy


def levels_of_third_year(budget: float, candidates: int) -> NDArray[np.float64]:
    spent: list[Spent] = []
    for number in range(3 * candidates):
        now = START + timedelta(days=365 * number / candidates)
        spent.append(Spent(now, alpha_spending.next_level(budget, spent, now)))
    return np.array([one.level for one in spent[-candidates:]])


def one_sided_p(
    generator: np.random.Generator, shape: tuple[int, int], differing: int, gain: int = 0
) -> NDArray[np.float64]:
    """Return p-values of McNemar's test, of candidates that win `gain` images more than they lose."""
    return one_sided(matches(generator, shape, differing, gain))


def one_sided(pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return p-values of McNemar's test from wins and losses `[..., 2]`."""
    wins, losses = np.moveaxis(pairs, -1, 0)
    return np.asarray(binom.sf(wins - 1, wins + losses, 0.5))


def with_golden(
    generator: np.random.Generator,
    levels: NDArray[np.float64],
    years: int,
    policy: GateConfig,
    gains: tuple[int, int] = (0, 0),
) -> NDArray[np.bool_]:
    """Return which candidates of years `[years, candidates]` the gate promotes.

    Args:
        generator: of the differences.
        levels: of the comparisons of a year.
        years: number of years.
        policy: of the gate.
        gains: images that the candidate wins more than it loses, on test split and golden set.
    """
    shape = (years, len(levels))
    on_test = matches(generator, shape, DIFFERING, gains[0])
    on_golden = matches(generator, shape, GOLDEN_DIFFERING, gains[1])
    promoted = np.zeros(shape, bool)
    # The gate holds whoever wins neither split clearly, so only the others are put to it.
    clear = np.minimum(one_sided(on_test), one_sided(on_golden)) < levels
    for place in map(tuple, np.argwhere(clear).tolist()):
        promoted[place] = decided(paired(*on_test[place]), paired(*on_golden[place]), float(levels[place[1]]), policy)
    return promoted


def matches(generator: np.random.Generator, shape: tuple[int, int], differing: int, gain: int) -> NDArray[np.int64]:
    """Return wins and losses `[*shape, 2]` of candidates that win `gain` images more than they lose."""
    count = generator.poisson(differing, shape)
    wins = generator.binomial(count, 0.5 + gain / (2 * differing))
    return np.stack([wins, count - wins], axis=-1)


def decided(test: PairedTest, golden: PairedTest, level: float, policy: GateConfig) -> bool:
    accuracy = 0.99
    comparison = Comparison(
        1,
        accuracy - (test.wins - test.losses) / TEST_IMAGES,
        {},
        test,
        level,
        golden=GoldenComparison(
            "", GOLDEN_IMAGES, accuracy, accuracy - (golden.wins - golden.losses) / GOLDEN_IMAGES, golden
        ),
    )
    evaluation = Evaluation({"accuracy": accuracy}, {}, {}, {}, 0, "", "")
    return decide(evaluation, ImageClassification().headline, comparison, policy).promoted


@cache
def paired(wins: int, losses: int) -> PairedTest:
    """Return McNemar's exact test."""
    p_value = min(1.0, 2 * float(binom.cdf(min(wins, losses), wins + losses, 0.5)))
    return PairedTest("McNemar exact", int(wins), int(losses), p_value, favours_candidate=bool(wins > losses))


def table(years: int, budget: float, differing: int) -> None:
    print(
        "| candidates a year | level | years with a wrong promotion | spending: levels | years with a wrong promotion |"
    )
    print("| ---: | ---: | ---: | ---: | ---: |")
    for candidates in (1, 12, 52, 100, 365):
        generator = np.random.default_rng(0)
        levels = levels_of_third_year(budget, candidates)
        p_values = one_sided_p(generator, (years, candidates), differing)
        constant = (p_values < budget / 2).any(axis=1).mean()
        spending = (p_values < levels).any(axis=1).mean()
        print(
            f"| {candidates} | {budget / 2:.3g} | {constant:.1%} | {levels.min():.2g} to {levels.max():.2g} "
            f"| {spending:.1%} |"
        )
    print(
        "\n| better by | candidates a year | promoted with one level | with spending |\n| ---: | ---: | ---: | ---: |"
    )
    for points in BETTER:
        for candidates in (12, 100):
            generator = np.random.default_rng(1)
            level = levels_of_third_year(budget, candidates).mean()
            p_values = one_sided_p(generator, (years, 1), differing, round(points * 100))
            constant, spending = ((p_values < one).mean() for one in (budget / 2, level))
            print(f"| {points} points | {candidates} | {constant:.0%} | {spending:.0%} |")


def golden_table(years: int, policy: GateConfig) -> None:
    print("\n| candidates a year | years with a wrong promotion, with a golden set |\n| ---: | ---: |")
    for candidates in (12, 52, 100):
        levels = levels_of_third_year(policy.significance, candidates)
        promoted = with_golden(np.random.default_rng(2), levels, years, policy)
        print(f"| {candidates} | {promoted.any(axis=1).mean():.1%} |")
    print("\n| better on the golden set by | candidates a year | promoted |\n| ---: | ---: | ---: |")
    for points in GOLDEN_BETTER:
        for candidates in (12, 100):
            levels = levels_of_third_year(policy.significance, candidates)[-1:]
            gains = (0, round(points * GOLDEN_IMAGES / 100))
            promoted = with_golden(np.random.default_rng(3), levels, years, policy, gains)
            print(f"| {points} points | {candidates} | {promoted.mean():.0%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--years", type=int, default=5000)
    parser.add_argument("--budget", type=float, default=0.05)
    parser.add_argument(
        "--differing", type=int, default=DIFFERING, help="test images, of 10,000, on which the models differ"
    )
    arguments = parser.parse_args()
    table(arguments.years, arguments.budget, arguments.differing)
    policy = config.load(ROOT / "params.yaml").gate.model_copy(update={"significance": arguments.budget})
    golden_table(arguments.years, policy)


if __name__ == "__main__":
    main()
