"""Wrong promotions of a year, with one level for every comparison and with alpha spending; and what good models lose.

Each candidate differs from the champion on some test images; one that is no better wins half of them. The levels are
those of the third year of regular comparisons.

    python benchmarks/gate.py
"""

import argparse
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from mnistflow.registry.gate import alpha_spending
from mnistflow.registry.gate.alpha_spending import Spent

START = datetime(2026, 1, 1, tzinfo=UTC)
BETTER = (0.1, 0.2, 0.3)  # points of accuracy


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
    count = generator.poisson(differing, shape)
    wins = generator.binomial(count, 0.5 + gain / (2 * differing))
    return np.asarray(binom.sf(wins - 1, count, 0.5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--years", type=int, default=5000)
    parser.add_argument("--budget", type=float, default=0.05)
    parser.add_argument("--differing", type=int, default=60, help="test images, of 10,000, on which the models differ")
    arguments = parser.parse_args()
    print(
        "| candidates a year | level | years with a wrong promotion | spending: levels | years with a wrong promotion |"
    )
    print("| ---: | ---: | ---: | ---: | ---: |")
    for candidates in (1, 12, 52, 100, 365):
        generator = np.random.default_rng(0)
        levels = levels_of_third_year(arguments.budget, candidates)
        p_values = one_sided_p(generator, (arguments.years, candidates), arguments.differing)
        constant = (p_values < arguments.budget / 2).any(axis=1).mean()
        spending = (p_values < levels).any(axis=1).mean()
        print(
            f"| {candidates} | {arguments.budget / 2:.3g} | {constant:.1%} | {levels.min():.2g} to {levels.max():.2g} "
            f"| {spending:.1%} |"
        )
    print(
        "\n| better by | candidates a year | promoted with one level | with spending |\n| ---: | ---: | ---: | ---: |"
    )
    for points in BETTER:
        for candidates in (12, 100):
            generator = np.random.default_rng(1)
            level = levels_of_third_year(arguments.budget, candidates).mean()
            p_values = one_sided_p(generator, (arguments.years, 1), arguments.differing, round(points * 100))
            constant, spending = ((p_values < one).mean() for one in (arguments.budget / 2, level))
            print(f"| {points} points | {candidates} | {constant:.0%} | {spending:.0%} |")


if __name__ == "__main__":
    main()
