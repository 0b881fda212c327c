"""Checkup: `mnistflow doctor` and the flow `upkeep` find defects of the checkout and its schedules, and repair them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flows.orchestration import schedule_diagnosis
from mnistflow import environment
from mnistflow.paths import Paths
from mnistflow.retention import RetentionConfig
from mnistflow.upkeep import diagnosis
from mnistflow.upkeep.problems import Problem


@dataclass(frozen=True)
class Checkup:
    """What a checkup found.

    Attributes:
        left: what is wrong now.
        repaired: what was wrong before.
        failures: of repairs, a line each.
    """

    left: tuple[Problem, ...]
    repaired: tuple[Problem, ...]
    failures: tuple[str, ...]

    @property
    def summary(self) -> str:
        """The result in one line."""
        left = f", {len(self.left)} left for a person" if self.left else ""
        return f"upkeep: {len(self.repaired)} repaired{left}"


def check(paths: Paths, name: str, retention: RetentionConfig, *, repair: bool) -> Checkup:
    """Find what is wrong, and repair it if asked to.

    Args:
        paths: of the checkout.
        name: of the registered model that it serves.
        retention: section `gc` of params.yaml.
        repair: whether to repair what can be repaired.

    Raises:
        MnistflowError: a store cannot be read.
    """
    found = tuple(_diagnose(paths, name, retention))
    failures = tuple(failure for problem in found if repair and (failure := diagnosis.repair(problem)))
    left = tuple(_diagnose(paths, name, retention)) if repair else found
    return Checkup(left, tuple(problem for problem in found if problem not in left), failures)


def _diagnose(paths: Paths, name: str, retention: RetentionConfig) -> Iterator[Problem]:
    yield from diagnosis.diagnose(paths, name, retention, environment.inference_log())
    yield from schedule_diagnosis.diagnose(paths)
