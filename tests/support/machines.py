"""Machines that share a registry: each has a repository of its own, and acts in processes that can be killed."""

import multiprocessing
import os
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from mlflow import MlflowClient

from mnistflow.errors import RegistryError
from mnistflow.paths import Paths
from mnistflow.registry import aliases, history, promotion, versions
from mnistflow.registry.gate.judgement import Judgement
from mnistflow.registry.gate.verdict import Verdict
from mnistflow.registry.repository import publisher, reconciliation
from mnistflow.registry.rollouts import Rollout
from mnistflow.tracking.store import open_store

SECONDS_OF_AN_ACTION = 1.0
REFUSED = 3  # exit code

# Imports take several times as long as most actions.
PRELOADED = ("mlflow", "mlflow.tracking", "mlflow.artifacts", "httpx", "numpy", "machines")
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([*PRELOADED])


def decide_by_gate(paths: Paths, name: str, number: int) -> None:
    """Promote a version that is found to be better than the champion."""
    with reconciliation.acquire_lease(name):
        opponent = versions.version_of_alias(name, versions.CHAMPION)
        version = versions.find(name, number)
        verdict = Verdict("hold" if version.is_overruled else "promote", ("better",))
        promotion.apply(paths, version, Judgement(verdict, opponent.number if opponent else None))


ACTIONS: Mapping[str, Callable[[Paths, str, int], object]] = {
    "promote": promotion.promote,
    "gate": decide_by_gate,
    "rollback": lambda paths, name, _: promotion.rollback(paths, name),
    "canary": lambda paths, name, number: promotion.change_rollout(paths, name, canary=0.1, number=number),
    "shadow": lambda paths, name, number: promotion.change_rollout(paths, name, shadow=True, number=number),
    "end": lambda paths, name, _: promotion.change_rollout(paths, name, canary=0.0, shadow=False),
    "reconcile": lambda paths, name, _: reconciliation.reconcile(paths, name),
    "mlflow": lambda _, name, number: MlflowClient().set_registered_model_alias(name, "champion", str(number)),
}


def act(uri: str, folder: Path, action: str, name: str, number: int) -> None:
    """Act on a machine, in a process of its own; what is refused is no failure."""
    os.environ["MLFLOW_TRACKING_URI"] = uri
    try:
        ACTIONS[action](Paths(folder, folder), name, number)
    except RegistryError:
        sys.exit(REFUSED)


@dataclass(frozen=True)
class Machine:
    """A machine that uses a registry.

    Attributes:
        uri: of the MLflow server.
        folder: of its checkout.
    """

    uri: str
    folder: Path

    @property
    def paths(self) -> Paths:
        return Paths(self.folder, self.folder)

    def start(self, action: str, name: str, number: int = 0) -> BaseProcess:
        process = _processes.Process(target=act, args=(self.uri, self.folder, action, name, number))
        process.start()
        return process

    def run(self, action: str, name: str, number: int = 0) -> None:
        process = self.start(action, name, number)
        process.join()
        assert process.exitcode in (0, REFUSED)


def disturb(machines: list[Machine], name: str, numbers: range, steps: int, seed: int) -> dict[str, int]:
    """Let machines act at the same time, and kill some of them; check at each quiet moment that all agree.

    Args:
        numbers: of the versions of the model.

    Returns:
        How often each action was done, refused and killed.
    """
    chance = random.Random(seed)
    counts: dict[str, int] = {}
    for step in range(steps):
        if chance.random() < 0.1:
            chosen = [(machines[0], "mlflow", chance.choice(numbers))]
        else:
            actions = ("promote", "gate", "rollback", "canary", "shadow", "end", "reconcile")
            chosen = [(machine, chance.choice(actions), chance.choice(numbers)) for machine in machines]
        started = [(action, machine.start(action, name, number)) for machine, action, number in chosen]
        for action, process in started:
            if chance.random() < 0.4:
                process.join(chance.uniform(0, SECONDS_OF_AN_ACTION))
                process.kill()
            process.join()
            assert process.exitcode in (0, REFUSED, -9), (step, action, process.exitcode)
            result = {0: "done", REFUSED: "refused", -9: "killed"}[process.exitcode or 0]
            counts[f"{action} {result}"] = counts.get(f"{action} {result}", 0) + 1
        for machine in machines:
            reconciliation.reconcile(machine.paths, name)
        check_agreement(machines, name, f"seed {seed}, step {step}: {[entry[1:] for entry in chosen]}")
    return counts


def check_agreement(machines: list[Machine], name: str, when: str) -> None:
    """Check that aliases, history, tags and all repositories state the same."""
    model, known = open_store().model(name), versions.all_versions(name)
    assert model
    champion, latest = model.aliases.get("champion"), history.latest(known)
    assert (latest[0] if latest else None) == champion, when
    assert aliases.is_move_complete(model), when
    assert model.aliases.get("previous") == (history.earlier_champion(known, champion) if champion else None), when
    assert not any(version.is_overruled for version in known if version.number == champion), when
    rollout = Rollout.of(model)
    assert not rollout or rollout.challenger != champion, when
    for machine in machines:
        assert publisher.published_champion(machine.paths, name) == champion, when
        assert not champion or publisher.is_intact(machine.paths, versions.find(name, champion)), when
        assert publisher.read_rollout(machine.paths, name) == rollout, when
