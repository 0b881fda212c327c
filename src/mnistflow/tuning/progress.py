"""Progress display of a search: a live table on a terminal, and one log line per trial."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

logger = logging.getLogger(__name__)
SHOWN = 10  # trials in the table


class TrialTable:
    """Live table of the best trials so far; a context manager around the search.

    Args:
        total: number of trials of the whole search.
        finished: trials that are done already.
        metric: shown besides the loss.
    """

    def __init__(self, total: int, finished: Iterable[FrozenTrial], metric: str) -> None:
        self._total, self._metric = total, metric
        self._trials = list(finished)
        console = Console(stderr=True)
        self._live = Live(self._render(), console=console, refresh_per_second=2) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def add(self, trial: FrozenTrial) -> None:
        """Add a finished trial."""
        self._trials.append(trial)
        if self._live:
            self._live.update(self._render())
        losses = [trial.user_attrs["loss"] for trial in self._trials if trial.user_attrs["loss"] is not None]
        best = f"{min(losses):.4f}" if losses else "none yet"
        outcome = _outcome(trial, "validation loss ")
        logger.info("trial %d (%d of %d): %s, best %s", trial.number, len(self._trials), self._total, outcome, best)

    def _render(self) -> Table:
        table = Table(title=f"search: {len(self._trials)} of {self._total} trials")
        for heading in ("trial", "validation loss", self._metric, "epochs", "seconds", "parameters"):
            table.add_column(heading, justify="left" if heading == "parameters" else "right")
        for trial in sorted(self._trials, key=_rank)[:SHOWN]:
            attributes = trial.user_attrs
            table.add_row(
                str(trial.number),
                _outcome(trial),
                f"{attributes['measures'].get(self._metric, float('nan')):.4f}",
                str(attributes["epochs"]),
                f"{attributes['seconds']:.0f}",
                ", ".join(f"{name.rpartition('.')[2]} {_short(value)}" for name, value in trial.params.items()),
            )
        return table


def _rank(trial: FrozenTrial) -> float:
    loss = trial.user_attrs["loss"]
    return float("inf") if loss is None else float(loss)


def _outcome(trial: FrozenTrial, label: str = "") -> str:
    loss = trial.user_attrs["loss"]
    return "pruned" if loss is None else f"{label}{loss:.4f}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
