"""Follower: keeps a model repository equal to the registry, and prunes older versions beyond `--keep`.

A poll reads the aliases and tags of each model; the repository is made equal to the registry when they have changed,
and once a minute in any case. The registry is only read. While it does not answer, the repository stays as it is, and
servers go on with what they have.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NoReturn

from mnistflow import files
from mnistflow.errors import RegistryError
from mnistflow.paths import Paths
from mnistflow.registry import versions
from mnistflow.registry.repository import publisher, reconciliation
from mnistflow.registry.rollouts import Rollout
from mnistflow.tracking.records import StoredModel
from mnistflow.tracking.store import open_store

HEALTH = ".follow.json"  # in the repository; no name of a model, so servers pass over it
MAX_PAUSE_SECONDS = 30.0
FULL_SECONDS = 60.0
# Unfinished folders of this age belong to no process that still writes.
ABANDONED_SECONDS = 3600.0
_ADDRESS = re.compile(r"0x[0-9a-f]+")


class ProblemLog:
    """Reports each problem once when it begins and once when it ends, however many models share it.

    Args:
        report: called with one line for each.

    Attributes:
        current: problems by subject: a model, or the file `HEALTH`.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self.current: dict[str, str] = {}
        self._report = report
        self._reported_for: dict[str, str] = {}  # by problem: the first of the subjects that share it

    def set(self, subject: str, problem: str) -> None:
        """Record the problem of a subject; the empty string ends it."""
        former = self.current.pop(subject, "")
        of_others = set(self.current.values())
        if problem:
            self.current[subject] = problem
        if problem == former:
            return
        if problem and problem not in of_others:
            self._reported_for[problem] = subject
            self._report(f"{subject}: the published version continues to serve: {problem}")
        if former and former not in of_others:
            first = self._reported_for.pop(former)
            # Another problem is reported instead of the end; the first subject may have one, too.
            if not problem:
                self._report(f"{subject if first in self.current else first}: following again")


class Follower:
    """Follows the registry for some models.

    Args:
        paths: of the checkout whose model repository follows.
        names: registered names of the models; those without a champion are passed over.
        keep: how many versions stay in the repository besides those that an alias or a rollout names.
        report: called with one line for each change, and for each problem when it begins and ends.
    """

    def __init__(self, paths: Paths, names: Sequence[str], keep: int, report: Callable[[str], None]) -> None:
        self._paths, self._names, self._keep, self._report = paths, names, keep, report
        self._store = open_store()
        self._known: dict[str, StoredModel | None] = {}
        self._compared_at: dict[str, float] = {}
        self._reported_without_champion: set[str] = set()
        self._problems = ProblemLog(report)

    def run(self, every: float) -> NoReturn:
        """Poll until the process ends.

        Args:
            every: seconds between polls; problems make the pauses longer, see `pause`.
        """
        failures = 0
        while True:
            failures = 0 if self.poll() else failures + 1
            time.sleep(pause(every, failures))

    def poll(self) -> bool:
        """Make the repository equal to the registry as far as possible, and return whether nothing failed."""
        for name in self._names:
            self._try(name, partial(self.follow, name))
        self._try(HEALTH, self._write_health)
        return not self._problems.current

    def _try(self, subject: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # of MLflow, its stores and transports, and the disk: they share no base class
            self._problems.set(subject, _one_line(error))
        else:
            self._problems.set(subject, "")

    def follow(self, name: str) -> None:
        """Make the repository equal to the registry for one model.

        Raises:
            RegistryError: the registry does not answer, or the artifact store does not have the files of a version, or
                has damaged ones.
        """
        model = self._store.model(name)
        is_due = name not in self._compared_at or time.monotonic() - self._compared_at[name] >= FULL_SECONDS
        if not is_due and model == self._known[name]:
            return
        before = self._published(name)
        reconciliation.follow(self._paths, name)
        after = self._published(name)
        for line in _changes(before, after):
            self._report(f"{name}: {line}")
        self._report_absence(name, model, after[0])
        removed = prune(self._paths, name, model.aliases.values() if model else (), self._keep)
        if removed:
            self._report(f"{name}: removed version{'s' * (len(removed) > 1)} {', '.join(map(str, removed))}")
        self._known[name] = model
        self._compared_at[name] = time.monotonic()

    def _report_absence(self, name: str, model: StoredModel | None, published: int | None) -> None:
        """Report once if a version is published, and the registry has no champion, as one that is new or another."""
        if _has_champion(model):
            self._reported_without_champion.discard(name)
        elif published is not None and name not in self._reported_without_champion:
            self._reported_without_champion.add(name)
            self._report(f"{name}: the registry has no champion: version {published} continues to serve")

    def follow_all(self) -> None:
        """Make the repository equal to the registry for every model, once.

        Raises:
            RegistryError: as `follow`; or the registry has a champion of none of the models.
        """
        for name in self._names:
            self.follow(name)
        self._write_health()
        if not any(_has_champion(self._known[name]) for name in self._names):
            raise RegistryError(
                f"the registry has no champion: {', '.join(self._names)}", "`mnistflow retrain` or `promote` makes one."
            )

    def _published(self, name: str) -> tuple[int | None, Rollout | None]:
        return publisher.published_champion(self._paths, name), publisher.read_rollout(self._paths, name)

    def _write_health(self) -> None:
        """Write when each model was compared with the registry last, for probes and people."""
        files.write_json(
            self._paths.models / HEALTH,
            {
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
                "models": {
                    name: {
                        "champion": publisher.published_champion(self._paths, name),
                        "problem": self._problems.current.get(name),
                    }
                    for name in self._names
                },
            },
        )


def _has_champion(model: StoredModel | None) -> bool:
    return model is not None and versions.CHAMPION in model.aliases


def pause(every: float, failures: int) -> float:
    """Return the seconds until the next poll.

    They double with each failure up to half a minute, and vary by a quarter, so that many followers do not ask at the
    same moment.
    """
    longest = max(every, MAX_PAUSE_SECONDS)
    return float(min(every * 2 ** min(failures, 16), longest) * random.uniform(0.75, 1.0))  # noqa: S311


def prune(paths: Paths, name: str, used: Iterable[int], keep: int) -> list[int]:
    """Remove versions from the repository, the oldest first, and what killed processes have left unfinished.

    Args:
        used: numbers of versions that stay, besides the published champion and the challenger of a rollout.
        keep: how many of the others stay.

    Returns:
        The numbers of the removed versions.
    """
    folder = paths.models / name
    if not folder.is_dir():
        return []
    with publisher.locked(paths, name):
        rollout = publisher.read_rollout(paths, name)
        needed = {*used, publisher.published_champion(paths, name), rollout.challenger if rollout else None}
        published = sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
        spare = [number for number in published if number not in needed]
        removed = spare[: max(0, len(spare) - keep)]
        for number in removed:
            publisher.remove_version(paths, name, number)
        for path in folder.glob(".*"):
            if _age(path) > ABANDONED_SECONDS:
                files.remove(path)
    return removed


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _changes(before: tuple[int | None, Rollout | None], after: tuple[int | None, Rollout | None]) -> list[str]:
    (former, former_rollout), (champion, rollout) = before, after
    lines = []
    if champion != former:
        lines.append(f"champion is version {champion}{f', instead of {former}' if former else ''}")
    if rollout != former_rollout:
        lines.append(str(rollout) if rollout else "the rollout has ended")
    return lines


def _one_line(error: Exception) -> str:
    """Return the message of an error, the same for the same cause: without addresses of objects."""
    text = " ".join(str(error).split()) or type(error).__name__
    return _ADDRESS.sub("0x", text)
