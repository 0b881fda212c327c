"""Aliases and tags of registered models and versions: all changes of the registry but registrations and rollouts.

MLflow changes one alias or tag at a time. A move of `champion` is therefore first written to the registered model
(`Move`, a write-ahead record), then made, then recorded in history, tags and the other aliases. The next process that
takes the lease completes a move that was made, and drops one that was not.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Self

from mnistflow.errors import RegistryError
from mnistflow.process_identity import user_at_host
from mnistflow.registry import history, rollouts, versions
from mnistflow.registry.rollouts import Rollout
from mnistflow.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, TAG, Decision, Version
from mnistflow.tracking.client import mlflow_client
from mnistflow.tracking.store import open_store

if TYPE_CHECKING:
    from mnistflow.tracking.records import StoredModel

MOVE_TAG = TAG + "champion"


@dataclass(frozen=True)
class Move:
    """The last move of the alias `champion`.

    Attributes:
        version: the new champion.
        replaced: the champion before; None for none.
        by: who or what moved it.
        line: of the version's history.
        is_recorded: whether history, tags and the other aliases are up to date with the move.
    """

    version: int
    replaced: int | None
    by: history.ChangedBy
    line: str
    is_recorded: bool = False

    @classmethod
    def of(cls, model: StoredModel) -> Self | None:
        """Return the last move of a model's alias; None if mnistflow has never moved it, or its tag is damaged."""
        try:
            return cls(**json.loads(model.tags[MOVE_TAG]))
        except (KeyError, TypeError, ValueError):
            return None

    def write(self, name: str) -> None:
        """Store the move as a tag of the registered model."""
        mlflow_client().set_registered_model_tag(name, MOVE_TAG, json.dumps(asdict(self)))


def record_decision(version: Version, decision: Decision, reasons: tuple[str, ...], key: str) -> None:
    """Store the gate's decision and its reasons as tags of the version.

    Args:
        key: of the verdict; written last, as it says that the rest is complete.
    """
    tags = {
        "decision": decision,
        "reasons": "\n".join(reasons),
        "verdict_key": key,
    }
    for tag, value in tags.items():
        _set_tag(version, tag, value)


def set_champion(version: Version, by: history.ChangedBy, reason: str = "") -> None:
    """Make a version the champion. The caller has the lease on the model, see `reconciliation.acquire_lease`.

    The version that a rollback would return to becomes `previous`. A version that is replaced other than by the gate
    is overruled. A rollout of the new champion ends. The history says by whom and why.
    """
    model = _model(version.name)
    replaced, last = model.aliases.get(CHAMPION), Move.of(model)
    if replaced == version.number:
        return
    line = history.line(by, user_at_host(), reason, after=last.line if last else None)
    move = Move(version.number, replaced, by, line)
    move.write(version.name)
    mlflow_client().set_registered_model_alias(version.name, CHAMPION, str(version.number))
    _record(version.name, move)


def is_move_complete(model: StoredModel) -> bool:
    """Return whether the alias `champion` is where its last move has led to, and that move is recorded."""
    champion, last = model.aliases.get(CHAMPION), Move.of(model)
    return champion is None or (last is not None and last.is_recorded and last.version == champion)


def complete_move(name: str) -> None:
    """Complete the move that a killed process has begun, and record one that was made in MLflow's UI or client.

    The latter is recorded like `mnistflow promote`: a rollback returns to the version before, and no retraining brings
    that version back. A choice of a version that mnistflow has not registered is not recorded: commands that need a
    champion name the problem, and the next promotion or rollback replaces it. The caller has the lease on the model.
    """
    model = _model(name)
    if is_move_complete(model) or CHAMPION not in versions.by_alias(name):
        return
    champion, last = model.aliases[CHAMPION], Move.of(model) or _latest_of_history(name)
    if last and champion == last.version:
        move = last
    elif last and champion == last.replaced and not last.is_recorded:  # killed before it moved the alias
        move = replace(last, version=champion, is_recorded=True)
    else:
        before = (last.version if last.is_recorded else last.replaced) if last else None
        move = Move(champion, before, "MLflow", history.line("MLflow", after=last.line if last else None))
    move.write(name)
    if not move.is_recorded:
        _record(name, move)


def last_move(name: str) -> Move | None:
    """Return the last recorded move of the alias `champion`."""
    return Move.of(_model(name))


def set_challenger(version: Version) -> None:
    """Make a version the challenger."""
    _set_alias(version.name, CHALLENGER, version.number)


def _latest_of_history(name: str) -> Move | None:
    """Return the last move of a model from tags of its versions, where earlier releases stored it."""
    latest = history.latest(versions.all_versions(name))
    return Move(latest[0], None, "MLflow", latest[1], is_recorded=True) if latest else None


def _record(name: str, move: Move) -> None:
    """Bring history, tags and the other aliases up to date with a move. Idempotent: entries that exist are kept."""
    known = {version.number: version for version in versions.all_versions(name)}
    champion, replaced = known[move.version], known.get(move.replaced or 0)
    if move.line not in champion.history:
        _set_tag(champion, "history", "\n".join((*champion.history, move.line)))
        known[move.version] = replace(champion, history=(*champion.history, move.line))
    if move.by != "gate":
        _set_tag(champion, "overruled", "false")
        if replaced:
            _set_tag(replaced, "overruled", "true")
    _set_alias(name, PREVIOUS, history.earlier_champion(known.values(), move.version))
    aliases = _model(name).aliases
    if aliases.get(CHALLENGER) == move.version:
        _set_alias(name, CHALLENGER, None)
    elif move.by == "rollback" and CHALLENGER not in aliases and replaced and replaced.decision != "reject":
        _set_alias(name, CHALLENGER, replaced.number)
    rollout = Rollout.of(_model(name))
    if rollout and rollout.challenger == move.version:
        rollouts.write(name, None)
    replace(move, is_recorded=True).write(name)


def _model(name: str) -> StoredModel:
    model = open_store().model(name)
    if model is None:
        raise RegistryError(f"{name} is not registered", "`mnistflow retrain` registers its first version.")
    return model


def _set_alias(name: str, alias: str, number: int | None) -> None:
    if number is not None:
        mlflow_client().set_registered_model_alias(name, alias, str(number))
    elif alias in open_store().aliases(name):
        mlflow_client().delete_registered_model_alias(name, alias)


def _set_tag(version: Version, tag: str, value: str) -> None:
    mlflow_client().set_model_version_tag(version.name, str(version.number), TAG + tag, value)
