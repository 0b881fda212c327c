"""Origins of a run: the registered models that it has learned from, as its parameters in MLflow name them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from mnistflow.tracking import runs

Reference = int | str  # number of a version, id of the run that registered it, or an alias


@dataclass(frozen=True)
class Origins:
    """Registered models that a run has learned from.

    Attributes:
        members: of an ensemble.
        teacher: of a distillation; None for none.
        warm_start: version whose training was continued; None for none.
    """

    members: tuple[Reference, ...] = ()
    teacher: Reference | None = None
    warm_start: Reference | None = None

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> Self:
        """Read the origins from the parameters of a run."""
        named = ("model.members", "train.distillation", "train.warm_start")
        members, distillation, warm_start = (runs.parameter_value(parameters.get(name, "None")) for name in named)
        return cls(
            members=tuple(filter(_is_reference, members)) if isinstance(members, list) else (),
            teacher=_reference(distillation.get("teacher")) if isinstance(distillation, dict) else None,
            warm_start=_reference(warm_start),
        )

    @property
    def all(self) -> frozenset[Reference]:
        """All of them."""
        return frozenset(one for one in (*self.members, self.teacher, self.warm_start) if one is not None)


def _is_reference(value: Any) -> bool:
    return isinstance(value, Reference)


def _reference(value: Any) -> Reference | None:
    return value if isinstance(value, Reference) else None
