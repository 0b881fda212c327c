"""Reconciliation: publishes the registry's champion and challenger to a model repository, once. Removes nothing."""

from __future__ import annotations

from mnistflow.errors import DataError
from mnistflow.paths import Paths
from mnistflow.registry import aliases, rollouts, versions
from mnistflow.registry.repository import publisher
from mnistflow.registry.rollouts import Rollout
from mnistflow.tracking.lease import Lease
from mnistflow.tracking.store import open_store


def reconcile(paths: Paths, name: str) -> bool:
    """Make the repository equal to the registry, champion and rollout; return whether anything had to change.

    Moves of the alias by other machines or in MLflow's UI are adopted. One without a record is recorded in the
    registry, see `aliases.complete_move`. A rollout whose version was deleted in MLflow ends.

    Raises:
        RegistryError: the artifact store does not have the files of a version.
    """
    changed = follow(paths, name)
    model = open_store().model(name)
    if model is None or (aliases.is_move_complete(model) and rollouts.is_valid(name, model)):
        return changed
    with acquire_lease(name):
        return follow(paths, name) or changed


def acquire_lease(name: str) -> Lease:
    """Acquire the lease on a registered model and return it.

    First, a pending move of the champion is completed, and a rollout ends whose version was deleted in MLflow.

    Raises:
        RegistryError: others have decided all the time, or there is no such model.
    """
    lease = Lease(name).acquire()
    try:
        aliases.complete_move(name)
        rollouts.end_invalid(name)
    except BaseException:
        lease.release()
        raise
    return lease


def follow(paths: Paths, name: str) -> bool:
    """Make the repository equal to the registry, and return whether anything had to change; the registry is only read.

    Without a champion in the registry, the published one goes on serving.

    Raises:
        RegistryError: the artifact store does not have the files of a version.
    """
    with publisher.locked(paths, name):
        # Read under the lock: of two processes, the later one has the later state.
        model = open_store().model(name)
        number = model.aliases.get(versions.CHAMPION) if model else None
        if model is None or number is None:
            return False
        champion = versions.find(name, number)
        changed = publisher.publish(paths, champion)
        if changed or publisher.published_champion(paths, name) != number:
            publisher.write_champion(paths, champion)
            changed = True
        return _follow_rollout(paths, name, rollouts.valid_rollout(name, model)) or changed


def _follow_rollout(paths: Paths, name: str, rollout: Rollout | None) -> bool:
    published = rollout is not None and publisher.publish(paths, versions.find(name, rollout.challenger))
    try:
        if publisher.read_rollout(paths, name) == rollout and not published:
            return False
    except DataError:
        pass  # damaged: written again
    publisher.write_rollout(paths, name, rollout)
    return True
