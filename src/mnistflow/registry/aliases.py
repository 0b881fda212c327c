"""Aliases and tags of registered versions: every change of the model registry except registration."""

from __future__ import annotations

from mnistflow.process_identity import user_at_host
from mnistflow.registry import history, versions
from mnistflow.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, TAG, Decision, Version
from mnistflow.tracking.client import mlflow_client
from mnistflow.tracking.store import open_store


def record_decision(version: Version, decision: Decision, reasons: tuple[str, ...], key: str) -> None:
    """Keep the gate's decision and its reasons with the version.

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


def set_overruled(version: Version, is_overruled: bool) -> None:
    """Record whether somebody has replaced the version as champion by hand."""
    _set_tag(version, "overruled", str(is_overruled).lower())


def set_champion(version: Version, by: history.By, because: str = "") -> None:
    """Make a version the champion, and the version that a rollback would return to `previous`.

    The history says by whom and why. It is written first: a process that is killed before it moves the alias leaves a
    line too many, which changes no later rollback.
    """
    replaced = open_store().aliases(version.name).get(CHAMPION)
    if replaced == version.number:
        return
    _add_to_history(version, history.line(by, user_at_host(), because))
    if by == "rollback":
        replaced = history.earlier_champion(versions.all_versions(version.name), version.number)
    _set_previous(version.name, replaced)
    mlflow_client().set_registered_model_alias(version.name, CHAMPION, str(version.number))
    _remove_challenger(version)


def adopt_champion(version: Version, replaced: int | None) -> None:
    """Record that somebody has made a version the champion by MLflow's UI or client.

    The history is written last, because its line says that the rest is complete.

    Args:
        replaced: the champion before, which a rollback returns to.
    """
    _set_previous(version.name, replaced)
    _remove_challenger(version)
    _add_to_history(version, history.line("MLflow"))


def set_challenger(version: Version) -> None:
    """Make a version the challenger."""
    mlflow_client().set_registered_model_alias(version.name, CHALLENGER, str(version.number))


def _add_to_history(version: Version, line: str) -> None:
    past = versions.find(version.name, version.number).history
    _set_tag(version, "history", "\n".join((*past, line)))


def _set_previous(name: str, number: int | None) -> None:
    if number is not None:
        mlflow_client().set_registered_model_alias(name, PREVIOUS, str(number))
    elif PREVIOUS in open_store().aliases(name):
        mlflow_client().delete_registered_model_alias(name, PREVIOUS)


def _remove_challenger(version: Version) -> None:
    if open_store().aliases(version.name).get(CHALLENGER) == version.number:
        mlflow_client().delete_registered_model_alias(version.name, CHALLENGER)


def _set_tag(version: Version, tag: str, value: str) -> None:
    mlflow_client().set_model_version_tag(version.name, str(version.number), TAG + tag, value)
