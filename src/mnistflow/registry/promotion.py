"""Promotion: let a judged candidate serve or keep it as challenger, promote by hand, roll back, change a rollout.

The order makes a kill harmless: a version is published before any alias moves, and `reconciliation` lets the
repository follow the registry. One process at a time decides about a model, on whichever machine.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mnistflow.errors import RegistryError
from mnistflow.paths import Paths
from mnistflow.registry import aliases, history, rollouts, versions
from mnistflow.registry.repository import publisher, reconciliation
from mnistflow.registry.rollouts import Rollout
from mnistflow.registry.versions import Version
from mnistflow.tracking.store import open_store

if TYPE_CHECKING:
    from mnistflow.registry.gate.judgement import Judgement


def apply(paths: Paths, version: Version, judgement: Judgement) -> None:
    """Publish a version and let it serve, or keep it as challenger; a rejected one becomes neither.

    The caller has had the lease on the model since it judged, see `reconciliation.acquire_lease`.

    Raises:
        RegistryError: the artifact store does not have its files, or the champion is not the one that it was compared
            with any more.
    """
    decision = judgement.verdict.decision
    if _champion(version.name) == version.number:
        reconciliation.follow(paths, version.name)
    elif decision == "promote":
        _publish(paths, version)
        _check_champion(version.name, judgement.opponent)
        make_champion(paths, version, "gate", "; ".join(judgement.verdict.reasons))
    elif decision == "hold":
        _publish(paths, version)
        aliases.set_challenger(version)


def make_champion(paths: Paths, version: Version, by: history.ChangedBy, reason: str = "") -> None:
    """Publish a version, move the alias `champion` to it, and let the repository follow.

    The caller has the lease on the model. A rollout of the same version ends.

    Args:
        reason: for the history, which keeps it with the user and the machine.

    Raises:
        RegistryError: the artifact store does not have its files.
    """
    _publish(paths, version)
    aliases.set_champion(version, by, reason)
    reconciliation.follow(paths, version.name)


def promote(paths: Paths, name: str, number: int, reason: str = "") -> Version:
    """Make a version champion by hand, whatever the gate has decided, and return the champion that MLflow then has.

    Args:
        reason: for the history.

    Raises:
        RegistryError: there is no such version, the artifact store does not have its files, or something moved the
            alias at the same time.
    """
    with reconciliation.acquire_lease(name):
        version = versions.find(name, number)
        make_champion(paths, version, "hand", reason)
        return _read_back(version)


def rollback(paths: Paths, name: str, reason: str = "", replacing: int | None = None) -> Version:
    """Let the champion before the present one serve again; another rollback goes one further back.

    The version that is replaced becomes the challenger if there is none, unless the gate has rejected it. No later
    rollback returns to it.

    Args:
        reason: for the history.
        replacing: the version to replace; None for whichever is champion.

    Raises:
        RegistryError: another version is champion, there is no earlier one, the artifact store does not have its files,
            or something moved the alias at the same time.
    """
    with reconciliation.acquire_lease(name):
        known = {version.number: version for version in versions.all_versions(name)}
        champion = _champion(name)
        if replacing is not None:
            _check_champion(name, replacing)
        earlier = history.earlier_champion(known.values(), champion)
        if earlier is None:
            raise RegistryError(f"{name} has no earlier champion", "Promote a version instead.")
        _publish(paths, known[earlier])
        _check_champion(name, champion)
        make_champion(paths, known[earlier], "rollback", reason)
        return _read_back(known[earlier])


def change_rollout(
    paths: Paths, name: str, *, canary: float | None = None, shadow: bool | None = None, number: int | None = None
) -> Rollout | None:
    """Start, change or end the rollout of a version, and return the one that MLflow then has.

    The challenger stays the same until both canary and shadow have ended, even if the alias `challenger` moves
    meanwhile.

    Args:
        canary: share of the requests that the version answers, 0 to 1; None leaves it as it is.
        shadow: whether the version gets a copy of the requests; None leaves it as it is.
        number: the version to roll out, published if need be; None for the challenger.

    Raises:
        RegistryError: there is no champion, no such version or no challenger, the artifact store does not have the
            version's files, or another version is rolled out.
    """
    with reconciliation.acquire_lease(name):
        now = rollouts.read(name) or Rollout(0)
        wanted = replace(
            now,
            canary=now.canary if canary is None else canary,
            shadow=now.shadow if shadow is None else shadow,
            since=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
        if canary or shadow:
            chosen = _version_to_roll_out(name, number)
            if now.challenger not in (0, chosen.number):
                other = f"not version {number}" if number else f"and the challenger is version {chosen.number} now"
                raise RegistryError(
                    f"version {now.challenger} is in a rollout, {other}",
                    f"Use `--version {now.challenger}`, or run first `mnistflow canary off` and "
                    "`mnistflow shadow off`.",
                )
            _publish(paths, chosen)
            wanted = replace(wanted, challenger=chosen.number)
        rollouts.write(name, wanted if wanted.canary or wanted.shadow else None)
        reconciliation.follow(paths, name)
        return rollouts.read(name)


def _publish(paths: Paths, version: Version) -> None:
    with publisher.locked(paths, version.name):
        publisher.publish(paths, version)


def _version_to_roll_out(name: str, number: int | None) -> Version:
    champion = versions.version_of_alias(name, versions.CHAMPION)
    if not champion:
        raise RegistryError(
            f"{name} has no champion to roll out a challenger against", "`mnistflow promote VERSION` makes one."
        )
    if number is not None:
        if number == champion.number:
            raise RegistryError(f"version {number} is the champion itself", "Name another version.")
        return versions.find(name, number)
    challenger = versions.version_of_alias(name, versions.CHALLENGER)
    if not challenger:
        raise RegistryError(
            f"{name} has no challenger to roll out",
            "`--version N` chooses a version; `mnistflow leaderboard` lists them.",
        )
    return challenger


def _check_champion(name: str, expected: int | None) -> None:
    """Check that the champion is the one that was decided upon.

    Raises:
        RegistryError: it is another one: MLflow's UI has moved the alias, or this process was stopped for so long that
            another one took its lease.
    """
    number = _champion(name)
    if number != expected:
        raise RegistryError(
            f"the champion of {name} is {_called(number)} now, and was {_called(expected)} when this was decided",
            "Run the command again to decide on the present state.",
        )


def _champion(name: str) -> int | None:
    """Return the number of the champion, whoever has registered that version."""
    return open_store().aliases(name).get(versions.CHAMPION)


def _called(number: int | None) -> str:
    return f"version {number}" if number else "no version"


def _read_back(version: Version) -> Version:
    """Return the champion that MLflow has now, which is to be this version."""
    champion = versions.version_of_alias(version.name, versions.CHAMPION)
    if champion is None or champion.number != version.number:
        raise RegistryError(
            f"{version.title} was made champion, but the alias names "
            f"{_called(champion.number if champion else None)} now",
            "Another process has moved it: `mnistflow status` shows what is published.",
        )
    return champion
