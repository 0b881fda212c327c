"""Rollouts: canary and shadow deployment of a challenger, as a tag of the registered model in MLflow.

`promotion.change_rollout` changes them. Every server that follows the registry takes part.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self

from mnistflow.registry import versions
from mnistflow.registry.versions import TAG
from mnistflow.tracking.client import mlflow_client
from mnistflow.tracking.store import open_store

if TYPE_CHECKING:
    from mnistflow.tracking.records import StoredModel

ROLLOUT_TAG = TAG + "rollout"


@dataclass(frozen=True)
class Rollout:
    """Canary and shadow deployment of a challenger.

    Attributes:
        challenger: number of the version.
        canary: share of the requests that it answers, 0 to 1.
        shadow: whether it gets a copy of the others.
        since: time of the last change, ISO 8601 in UTC. A new value restarts a rollout that a server has ended.
    """

    challenger: int
    canary: float = 0.0
    shadow: bool = False
    since: str = ""

    @classmethod
    def of(cls, model: StoredModel) -> Self | None:
        """Return the rollout that MLflow stores with a model; None without one. Its version may have been deleted."""
        try:
            return cls(**json.loads(model.tags[ROLLOUT_TAG]))
        except (KeyError, TypeError, ValueError):
            return None

    def __str__(self) -> str:
        parts = []
        if self.canary:
            parts.append(f"answers {self.canary * 100:g}% of the requests")
        if self.shadow:
            parts.append(f"gets a copy of {'the others' if self.canary else 'all requests'}")
        return f"version {self.challenger} {' and '.join(parts)}"


def read(name: str) -> Rollout | None:
    """Return the rollout of a model as the registry has it; None without one, or if its version was deleted."""
    model = open_store().model(name)
    return valid_rollout(name, model) if model else None


def write(name: str, rollout: Rollout | None) -> None:
    """Start or change the rollout of a version; None ends it. The caller has the lease on the model."""
    if rollout:
        mlflow_client().set_registered_model_tag(name, ROLLOUT_TAG, json.dumps(asdict(rollout)))
    else:
        mlflow_client().delete_registered_model_tag(name, ROLLOUT_TAG)


def valid_rollout(name: str, model: StoredModel) -> Rollout | None:
    """Return the rollout of a model; None without one, or if MLflow no longer has its version."""
    rollout = Rollout.of(model)
    return rollout if rollout and versions.exists(name, rollout.challenger) else None


def is_valid(name: str, model: StoredModel) -> bool:
    """Return whether there is no rollout of a version that MLflow no longer has."""
    return Rollout.of(model) == valid_rollout(name, model)


def end_invalid(name: str) -> None:
    """End the rollout of a version that MLflow no longer has. The caller has the lease on the model."""
    model = open_store().model(name)
    if model and not is_valid(name, model):
        write(name, None)
