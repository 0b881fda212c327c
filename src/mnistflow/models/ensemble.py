"""Ensemble: the mean of the outputs of registered models."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from mnistflow.models.family import Family

_RUN_ID = re.compile(r"[0-9a-f]{32}")


def _version_or_run(value: Any) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if isinstance(value, str) and _RUN_ID.fullmatch(value):
        return value
    raise ValueError("is neither a version number nor the id of an MLflow run")


Member = Annotated[Any, AfterValidator(_version_or_run)]


class Ensemble(Family):
    """Mean of the outputs of registered models of the same data set, in a single ONNX graph.

    Inputs and outputs are those of the members, which may belong to different families. Nothing is trained: averaging
    cancels errors that the members do not share (Hansen and Salamon, IEEE PAMI 12, 1990).

    Attributes:
        members: version numbers of the registered model, or ids of the MLflow runs that registered them.
        sha256: of the members' ONNX files, in the same order; None accepts any file.
    """

    summary = "Ensemble: the mean of the outputs of registered models"
    learner = "ensemble"

    members: Annotated[tuple[Member, ...], Field(strict=False)] = ()
    sha256: Annotated[tuple[str, ...], Field(strict=False)] | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if len(set(self.members)) != len(self.members) or len(self.members) == 1:
            raise ValueError("members: must be at least two, without duplicates")
        if self.sha256 is not None and len(self.sha256) != len(self.members):
            raise ValueError("sha256: must be null or have one entry per member")
        return self

    @property
    def trainable(self) -> bool:
        return bool(self.members)
