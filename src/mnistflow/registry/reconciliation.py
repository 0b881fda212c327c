"""Reconciliation: the alias `champion` is obeyed, whoever has moved it, and the model repository follows it."""

from __future__ import annotations

from mnistflow.paths import Paths
from mnistflow.registry import aliases, history, publisher, versions
from mnistflow.registry.versions import Version


def reconcile(paths: Paths, name: str) -> bool:
    """Let the repository serve the registry's champion, undamaged; return whether anything had to change.

    A process that is killed between the move of the alias and that of the pointer leaves the old champion serving
    until then, and so does whoever moves the alias by MLflow's UI or client.

    Raises:
        RegistryError: the artifact store does not have the champion's files.
    """
    adopt(paths, name)
    champion = versions.version_of_alias(name, versions.CHAMPION)
    if not champion:
        return False
    serves = publisher.published_champion(paths, name) == champion.number
    if serves and publisher.is_whole(paths, name, champion.number):
        return False
    publisher.publish(paths, champion)
    publisher.serve(paths, champion)
    return True


def adopt(paths: Paths, name: str) -> Version | None:
    """Record a champion that was chosen by MLflow's UI or client, and return it; None if there is none to record.

    It is recorded like one that was chosen by `mnistflow promote`: a rollback returns to the version before, and no
    retraining brings that version back.
    """
    known = {version.number: version for version in versions.all_versions(name)}
    chosen = next((version for version in known.values() if versions.CHAMPION in version.aliases), None)
    published, latest = publisher.published_champion(paths, name), history.latest_champion(known.values())
    # A process that is killed before it moves the alias leaves a line too many in the history, while the alias names
    # the version that is published; one that is killed after that leaves another version published.
    if chosen is None or chosen.number in (published, latest):
        return None
    replaced = known.get(latest or published or 0)
    if replaced:
        aliases.set_overruled(replaced, True)
    aliases.set_overruled(chosen, False)
    aliases.adopt_champion(chosen, replaced.number if replaced else None)
    return chosen
