"""Rollouts: canary and shadow deployment of a challenger, on every server that follows the registry."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from mnistflow.errors import RegistryError
from mnistflow.paths import Paths
from mnistflow.registry import aliases, publisher, reconciliation, versions
from mnistflow.registry.publisher import Rollout
from mnistflow.registry.versions import Version
from mnistflow.tracking.store import open_store


def read(name: str) -> Rollout | None:
    """Return the rollout of a model as the registry has it; None without one, or if its version was deleted."""
    model = open_store().model(name)
    return aliases.valid_rollout(name, model) if model else None


def change(
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
        now = read(name) or Rollout(0)
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
            with publisher.locked(paths, name):
                publisher.publish(paths, chosen)
            wanted = replace(wanted, challenger=chosen.number)
        aliases.set_rollout(name, wanted if wanted.canary or wanted.shadow else None)
        reconciliation.follow(paths, name)
        return read(name)


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
