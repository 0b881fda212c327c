"""Summary of the quarter, read back from the inference log and the registry, and whether it holds what it promises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from demo.quarter import Week
from demo.system import MODEL
from mnistflow.data import inference_log
from mnistflow.registry import history, versions

ANSWERS = "SELECT id, classes, probabilities FROM inferences WHERE id LIKE ?"
MIN_RECOVERED = 0.9
MAX_LOST = 0.001  # on the official test split
ROLLBACKS = 1


@dataclass(frozen=True)
class Summary:
    """What the quarter has come to.

    Attributes:
        before: accuracy on the traffic before it drifted.
        unaided: accuracy of the first champion on the traffic since, in weeks after a repair.
        aided: that of the champion of the day on the same traffic.
        official: accuracy of the first and of the last champion on the official test split.
        alarms: number of weeks with one.
        false_alarms: number of weeks with one, before anything drifted.
        promotions: versions that the gate has promoted.
        rollbacks: reasons of the rollbacks.
    """

    before: float
    unaided: float
    aided: float
    official: tuple[float, float]
    alarms: int
    false_alarms: int
    promotions: tuple[int, ...]
    rollbacks: tuple[str, ...]

    @property
    def recovered(self) -> float:
        """Share of the lost accuracy that the loop has brought back."""
        return (self.aided - self.unaided) / (self.before - self.unaided)

    @property
    def failures(self) -> tuple[str, ...]:
        """What the quarter should have shown and has not."""
        lost = self.official[0] - self.official[1]
        expected = {
            f"only {self.recovered:.1%} of the lost accuracy came back": self.recovered >= MIN_RECOVERED,
            f"{lost:.2%} were lost on the official test split": lost <= MAX_LOST,
            f"there were {len(self.rollbacks)} rollbacks": len(self.rollbacks) == ROLLBACKS,
            f"there were {self.false_alarms} false alarms": self.false_alarms == 0,
        }
        return tuple(failure for failure, held in expected.items() if not held)

    def lines(self) -> Iterator[str]:
        """Yield the summary, line by line."""
        yield f"accuracy on traffic: {self.before:.2%} before it drifted"
        yield f"  since then, without the loop: {self.unaided:.2%}"
        yield f"  since then, with the loop, after each repair: {self.aided:.2%}"
        yield f"  {self.recovered:.1%} of what was lost came back"
        yield f"official test split: {self.official[0]:.2%} at first, {self.official[1]:.2%} at the end"
        yield f"weeks with an alarm: {self.alarms}; false ones: {self.false_alarms}"
        yield f"promoted by the gate: versions {', '.join(map(str, self.promotions))}"
        yield from (f"rolled back: {reason}" for reason in self.rollbacks)


def read_back(log: str, weeks: Sequence[Week]) -> Summary:
    """Return the summary of all weeks.

    Args:
        log: path of the inference log.
        weeks: in order.
    """
    calm = [week for week in weeks if not week.plan.has_drifted]
    repaired = [week for week in weeks if week.plan.is_repaired]
    accuracies = {week.number: _accuracy(log, week) for week in weeks}
    known = {version.number: version for version in versions.all_versions(MODEL)}
    events = history.events(known.values())
    return Summary(
        before=float(np.mean([accuracies[week.number] for week in calm])),
        unaided=float(np.mean([week.control for week in repaired])),
        aided=float(np.mean([accuracies[week.number] for week in repaired])),
        official=(known[events[0].number].score, known[events[-1].number].score),
        alarms=sum(bool(week.alarms) for week in weeks),
        false_alarms=sum(bool(week.alarms) for week in calm),
        promotions=tuple(event.number for event in events if event.by == "gate"),
        rollbacks=tuple(event.reason for event in events if event.by == "rollback"),
    )


def _accuracy(log: str, week: Week) -> float:
    """Return the accuracy of a week's answers, as they were logged."""
    rows = inference_log.query(log, ANSWERS, (f"week{week.number:02}-%",), "")
    return float(
        np.mean([inference_log.predicted_class(names, answer) == week.truth[name] for name, names, answer in rows])
    )
