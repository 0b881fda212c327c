"""Finding: something that is wrong in a checkout, with its fix, and the repair if a command can make it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
        subject: what it is about, such as `MLflow run`.
        problem: what is wrong, in one line.
        fix: what the user can do about it, as an imperative.
        repair: does it; None if only the user can.
    """

    subject: str
    problem: str
    fix: str
    repair: Callable[[], object] | None = field(default=None, repr=False, compare=False)

    @property
    def what(self) -> str:
        """What is wrong, without the fix."""
        return f"{self.subject}: {self.problem}"

    def __str__(self) -> str:
        return f"{self.what}. {self.fix}"
