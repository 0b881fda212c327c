"""The quarter: what arrives in each week, what users report, and what somebody does on purpose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo import system, traffic
from demo.system import MODEL, System
from demo.traffic import Digits, Kind
from mnistflow.monitoring import state
from mnistflow.monitoring.state import State
from mnistflow.registry import history, versions
from mnistflow.splits import Split

SHARE, POISON = 0.8, 0.2
FEW, MANY = 600, 3000  # images of a week; so many labels it takes to learn a kind
CLIENTS = 8
CHECKED = 6  # of so many reports, a person checks one
GOLDEN = 2 / 3  # of the accepted reports; unchanged digits are official training images, which no golden set has
DECIDED = {"promote": "promoted", "hold": "held", "reject": "rejected"}


@dataclass(frozen=True)
class Plan:
    """A week as it is planned.

    Attributes:
        images: number of them.
        feedback: share of the images whose label is reported.
        wrong: share of these reports that are wrong on purpose.
        reviewed: whether a person checks some reports, and draws a golden set from them.
        careless: whether somebody promotes a bad model before it.
    """

    kind: Kind
    images: int = FEW
    feedback: float = 0.0
    wrong: float = 0.0
    reviewed: bool = False
    careless: bool = False

    @property
    def has_drifted(self) -> bool:
        """Whether the images differ from those that the first champion has learned from."""
        return self.kind != traffic.MNIST

    @property
    def is_repaired(self) -> bool:
        """Whether the loop has had a week to learn this kind, and nobody has interfered."""
        return self.has_drifted and not (self.reviewed or self.careless)


# Labels are reported in the first week of each kind; in the second one, the loop has nothing new to learn from.
WEEKS = (
    Plan(traffic.MNIST),
    Plan(traffic.MNIST),
    Plan(traffic.BROAD_PEN, MANY, SHARE, reviewed=True),
    Plan(traffic.BROAD_PEN),
    Plan(traffic.TURNED, MANY, SHARE, POISON, reviewed=True),
    Plan(traffic.TURNED),
    Plan(traffic.STRIPED, MANY, SHARE, reviewed=True),
    Plan(traffic.STRIPED),
    Plan(traffic.INVERTED, MANY, SHARE, reviewed=True),
    Plan(traffic.INVERTED),
    Plan(traffic.OTHER_MIX, MANY, SHARE, reviewed=True),
    Plan(traffic.OTHER_MIX, FEW, SHARE, careless=True),
    Plan(traffic.OTHER_MIX),
)


@dataclass(frozen=True)
class Week:
    """A week as it was.

    Attributes:
        truth: true class of each image, by the id of its request.
        example: one of the images.
        champion: number of the version that has answered.
        accuracy: of its answers.
        control: accuracy of the first champion on the same images.
        alarms: that the look has raised.
        done: what was done about them, and what has become of the last promotion.
        promoted: versions that became champion by the gate.
        returned: the version that a rollback has brought back; None without one.
    """

    number: int
    plan: Plan
    truth: dict[str, str]
    example: NDArray[np.uint8]
    champion: int
    accuracy: float
    control: float
    alarms: tuple[str, ...]
    done: tuple[str, ...]
    promoted: tuple[int, ...]
    returned: int | None

    def __str__(self) -> str:
        found = f"ALARM {', '.join(self.alarms)}" if self.alarms else "no alarm"
        shown = f"week {self.number:2}: {len(self.truth):5,} images, {self.plan.kind.name:<14}  {found:<44}"
        done = "; ".join(self.done) or "nothing"
        return f"{shown} {done:<58} accuracy {self.accuracy:6.1%}, without the loop {self.control:6.1%}"


class Quarter:
    """Simulates the weeks one after another.

    Args:
        loop: the system with the loop.
        control: address of a server that goes on serving the first champion.
        digits: what the traffic is made of.
        size: factor of the number of images.
        careless: options of the retraining that makes the bad model.
    """

    def __init__(self, loop: System, control: str, digits: Digits, size: float, careless: Sequence[str]) -> None:
        self._loop = loop
        self._control = control
        self._digits = digits
        self._size = size
        self._careless = careless
        self._champion = 1
        self._events = len(history.events(versions.all_versions(MODEL)))
        self._versions = 1

    def weeks(self) -> Iterator[Week]:
        """Simulate a week, yield it, and so on."""
        for number, plan in enumerate(WEEKS, 1):
            yield self._simulate(number, plan)

    def _simulate(self, number: int, plan: Plan) -> Week:
        if plan.careless:
            system.run(self._loop.paths, "retrain", *self._careless)
            self._champion = history.events(versions.all_versions(MODEL))[-1].number
            self._loop.wait_until_served(self._champion)
        arrived = self._digits.draw(plan.kind, round(self._size * plan.images))
        ids = [f"week{number:02}-{place:04}" for place in range(len(arrived))]
        right = self._answered(self._loop.server, arrived, ids)
        unaided = self._answered(self._control, arrived, ids)
        self._report(plan, arrived, ids)
        alarms, asked = self._look()
        champion = self._champion
        promoted, returned, done = self._changes()
        if asked:
            done = (*done, "asked a person: nothing new to learn")
        return Week(
            number=number,
            plan=plan,
            truth=dict(zip(ids, map(str, arrived.targets), strict=True)),
            example=arrived.inputs[0],
            champion=champion,
            accuracy=float(right.mean()),
            control=float(unaided.mean()),
            alarms=alarms,
            done=done,
            promoted=promoted,
            returned=returned,
        )

    def _look(self) -> tuple[tuple[str, ...], bool]:
        """Take a look, and return the checks of its alarms, and whether a person was asked to help."""
        before = state.read(self._loop.paths, MODEL) or State(version=0)
        self._loop.look()
        after = state.read(self._loop.paths, MODEL) or before
        raised = tuple(alarm.check for alarm in after.alarms[len(before.alarms) :])
        return raised, after.asked != before.asked

    def _answered(self, address: str, arrived: Split, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Send each image by itself, and return which answers are right."""
        with system.client(address) as client, ThreadPoolExecutor(CLIENTS) as pool:

            def label(request: tuple[str, NDArray[np.uint8]]) -> int:
                name, image = request
                answer = client.post("/predict", content=image.tobytes(), headers={"X-Request-Id": name})
                return int(answer.raise_for_status().json()["label"])

            labels = list(pool.map(label, zip(ids, arrived.inputs, strict=True)))
        return np.asarray(np.array(labels) == arrived.targets)

    def _report(self, plan: Plan, arrived: Split, ids: Sequence[str]) -> None:
        """Report labels as users do, some of them wrong on purpose, and review a sample of them as a person does."""
        generator = self._digits.generator
        reported = generator.permutation(len(arrived))[: round(plan.feedback * len(arrived))]
        lies = reported[: round(plan.wrong * len(reported))]
        labels = arrived.targets.copy()
        labels[lies] = traffic.wrong(labels[lies], generator)
        with system.client(self._loop.server) as client, ThreadPoolExecutor(CLIENTS) as pool:

            def report(row: int) -> None:
                client.post("/feedback", json={"id": ids[row], "class_name": str(labels[row])}).raise_for_status()

            list(pool.map(report, reported))
        if plan.reviewed:
            sample = generator.permutation(reported)[: len(reported) // CHECKED]
            is_right = labels[sample] == arrived.targets[sample]
            self._review([ids[row] for row in sample[is_right]], [ids[row] for row in sample[~is_right]])

    def _review(self, right: Sequence[str], wrong: Sequence[str]) -> None:
        """Accept and reject reports, and draw a golden set from the accepted ones."""
        system.run(self._loop.paths, "feedback", "accept", *right)
        if wrong:
            system.run(self._loop.paths, "feedback", "reject", *wrong)
        system.run(self._loop.paths, "feedback", "golden", "--draw", str(round(GOLDEN * len(right))))

    def _changes(self) -> tuple[tuple[int, ...], int | None, tuple[str, ...]]:
        """Return what has become of the champion since the last week, read from the registry.

        Returns:
            The versions that the gate has promoted; the one that a rollback has brought back; both in words, with the
            versions that the gate has held.
        """
        known = versions.all_versions(MODEL)
        events = history.events(known)[self._events :]
        made = [version for version in reversed(known) if version.number > self._versions]
        self._events += len(events)
        self._versions += len(made)
        returned = next((event for event in events if event.by == "rollback"), None)
        done = [f"version {version.number} {DECIDED[version.decision]}" for version in made]
        if returned:
            done.append(f"rolled back to version {returned.number}")
        if events:
            self._champion = events[-1].number
            self._loop.wait_until_served(self._champion)
        promoted = tuple(event.number for event in events if event.by == "gate")
        return promoted, returned.number if returned else None, tuple(done)
