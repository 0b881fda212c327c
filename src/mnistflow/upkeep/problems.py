"""Problem: a defect of a checkout, with its fix, and the repair if a command can make it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Problem:
    """A defect of a checkout.

    Attributes:
        subject: what it is about, such as `MLflow run`.
        message: what is wrong, in one line.
        fix: what the user can do about it, as an imperative.
        repair: does it; None if only the user can.
    """

    subject: str
    message: str
    fix: str
    repair: Callable[[], object] | None = field(default=None, repr=False, compare=False)

    @property
    def what(self) -> str:
        """What is wrong, without the fix."""
        return f"{self.subject}: {self.message}"

    def __str__(self) -> str:
        return f"{self.what}. {self.fix}"
