"""Versions of the registered models `<dataset>-<product>` in MLflow's model registry, as commands read them.

Aliases: `champion` serves, `previous` served before it and is what a rollback returns to, `challenger` is the last
version that the gate has held. Reading needs neither MLflow nor numpy, see `tracking.store`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from mnistflow.data import catalog
from mnistflow.data.entry import source_of
from mnistflow.errors import RegistryError
from mnistflow.tasks import identity
from mnistflow.tasks.identity import Headline, Identity
from mnistflow.tracking.records import StoredVersion
from mnistflow.tracking.store import open_store

CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"
TAG = "mnistflow."
BUNDLE = "bundle"
MANIFEST_TAG = TAG + "model"  # only of versions that have no model.json among their files

Decision = Literal["promote", "hold", "reject"]
PARTICIPLES: Mapping[Decision, str] = {"promote": "promoted", "hold": "held", "reject": "rejected"}


@dataclass(frozen=True)
class Version:
    """A registered version.

    Attributes:
        task: name of what it has learned.
        sha256: hexadecimal, of the ONNX file that was registered.
        metrics: the headline metric on the test split, by its name.
        decision: of the gate; `hold` before it has decided.
        reasons: of that decision.
        verdict_key: digest of what that decision depends on; empty before it.
        aliases: those that point to this version.
        created_ms: milliseconds since the epoch.
        history: when and how it became champion, one line each, oldest first.
        is_overruled: whether it was rolled back, by hand or by the watch, or replaced as champion by hand.
        bundle: names of the documents about it, artifacts of its run in the folder `BUNDLE`.
        has_exact_file: whether the artifact store has the very file of `sha256`. MLflow has written the graphs of older
            versions anew.
        weights: digest of the model's weights, the same whichever run has exported them; see `registry.weights`. Empty
            for versions of earlier releases.
    """

    name: str
    number: int
    run_id: str
    task: str
    sha256: str
    metrics: Mapping[str, float]
    decision: Decision
    reasons: tuple[str, ...]
    verdict_key: str
    aliases: tuple[str, ...]
    created_ms: int
    history: tuple[str, ...]
    is_overruled: bool
    has_exact_file: bool = False
    bundle: tuple[str, ...] = ()
    weights: str = ""

    @property
    def title(self) -> str:
        """Name and number, as messages show them: `mnist-classifier version 3`."""
        return f"{self.name} version {self.number}"

    @property
    def headline(self) -> Headline:
        """The headline metric of the task."""
        return identity.get(self.task).headline

    @property
    def score(self) -> float:
        """The headline metric on the test split."""
        return self.metrics[self.headline.name]

    @property
    def quality(self) -> str:
        """The formatted score: `test accuracy 99.31%`."""
        return self.headline.describe(self.score)


def task_of(dataset: str) -> Identity:
    """Return the task that is learned from a data set."""
    return identity.get(catalog.task_of(dataset))


def model_name(dataset: str) -> str:
    """Return the registered name of the models of a data set."""
    return task_of(dataset).model_name(source_of(dataset))


def find(name: str, number: int) -> Version:
    """Return one version.

    Raises:
        RegistryError: there is no such version, or it was not registered by mnistflow.
    """
    store = open_store()
    stored = store.version(name, number)
    if stored is None:
        raise RegistryError(f"{name} has no version {number}", "`mnistflow leaderboard` lists the versions.")
    return _version(stored, store.aliases(name))


def exists(name: str, number: int) -> bool:
    """Return whether MLflow has a version, and mnistflow has registered it."""
    stored = open_store().version(name, number)
    return stored is not None and _is_own(stored)


def all_versions(name: str) -> list[Version]:
    """Return all versions, newest first; none when the model does not exist."""
    store = open_store()
    aliases = store.aliases(name)
    return [_version(stored, aliases) for stored in store.versions(name) if _is_own(stored)]


def foreign_versions(name: str) -> list[RegistryError]:
    """Return the error of each version that was not registered by mnistflow, newest first."""
    store = open_store()
    aliases = store.aliases(name)
    return [_foreign(stored, aliases) for stored in store.versions(name) if not _is_own(stored)]


def version_of_alias(name: str, alias: str) -> Version | None:
    """Return the version that an alias points to, or None.

    Raises:
        RegistryError: that version was not registered by mnistflow.
    """
    store = open_store()
    aliases = store.aliases(name)
    stored = store.version(name, aliases[alias]) if alias in aliases else None
    return _version(stored, aliases) if stored else None


def by_alias(name: str) -> dict[str, Version]:
    """Return the version that each alias of a model points to."""
    store = open_store()
    aliases = store.aliases(name)
    found = {number: store.version(name, number) for number in set(aliases.values())}
    own = {number: _version(stored, aliases) for number, stored in found.items() if stored and _is_own(stored)}
    return {alias: own[number] for alias, number in aliases.items() if number in own}


def registered_as(name: str, model_sha256: str) -> Version | None:
    """Return the version that was registered from this very ONNX file, or None."""
    return next((version for version in all_versions(name) if version.sha256 == model_sha256), None)


def find_overruled(version: Version) -> Version | None:
    """Return the version itself, or another one with the same weights, if it was rolled back or replaced by hand."""
    same = (other for other in all_versions(version.name) if other.weights == version.weights != "")
    return next((one for one in (version, *same) if one.is_overruled), None)


def _is_own(stored: StoredVersion) -> bool:
    """Return whether mnistflow has registered a version, and its tags are still there."""
    return MANIFEST_TAG in stored.tags or {TAG + "task", TAG + "sha256"} <= stored.tags.keys()


def _aliases_of(stored: StoredVersion, aliases: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(sorted(alias for alias, number in aliases.items() if number == stored.number))


def _foreign(stored: StoredVersion, aliases: Mapping[str, int]) -> RegistryError:
    named = _aliases_of(stored, aliases)
    role = f", which is {' and '.join(named)}," if named else ""
    if CHAMPION in named:
        fix = "`mnistflow promote VERSION` makes another version the champion."
    elif named:
        fix = "Remove the alias in MLflow, or let it point to another version."
    else:
        fix = "Delete that version in MLflow, or register its model under another name."
    return RegistryError(f"{stored.name} version {stored.number}{role} was not registered by mnistflow", fix)


def _version(stored: StoredVersion, aliases: Mapping[str, int]) -> Version:
    """Return a version from its tags.

    Raises:
        RegistryError: it was not registered by mnistflow.
    """
    if not _is_own(stored):
        raise _foreign(stored, aliases)
    tags = stored.tags
    facts = _facts(tags)
    return Version(
        name=stored.name,
        number=stored.number,
        run_id=stored.run_id,
        task=facts["task"],
        sha256=facts["sha256"],
        metrics=facts["metrics"],
        decision=cast(Decision, tags.get(TAG + "decision", "hold")),
        reasons=_reasons(tags.get(TAG + "reasons", "")),
        verdict_key=tags.get(TAG + "verdict_key", ""),
        aliases=_aliases_of(stored, aliases),
        created_ms=stored.created_ms,
        history=tuple(tags.get(TAG + "history", "").splitlines()),
        is_overruled=tags.get(TAG + "overruled") == "true",
        has_exact_file=tags.get(TAG + "exact_file") == "true",
        bundle=tuple(tags.get(TAG + BUNDLE, "").split()),
        weights=tags.get(TAG + "weights", ""),
    )


def _facts(tags: Mapping[str, str]) -> Mapping[str, Any]:
    """Return task, sha256 and metrics of a version from its tags; older versions keep their whole manifest as one."""
    if text := tags.get(MANIFEST_TAG):
        manifest: Mapping[str, Any] = json.loads(text)
        return manifest
    task = tags[TAG + "task"]
    headline = identity.get(task).headline.name
    score = tags.get(TAG + headline)
    return {
        "task": task,
        "sha256": tags[TAG + "sha256"],
        "metrics": {} if score is None else {headline: float(score)},
    }


def _reasons(text: str) -> tuple[str, ...]:
    """Return the reasons of a verdict, a line each; older versions keep them as JSON."""
    return tuple(json.loads(text)) if text.startswith("[") else tuple(text.splitlines())
