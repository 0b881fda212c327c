"""Canary and shadow: a challenger answers a share of the requests, or works on copies of them; both are measured."""

import hashlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np

from serving.engine.batcher import Outputs
from serving.engine.model import Model
from serving.engine.repository import Plan
from serving.errors import DeadlineError, InferenceFailedError
from serving.metrics.prometheus import Metrics

# A challenger is judged by its last calls, as soon as there are enough of them.
RECENT_CALLS = 200
ENOUGH_CALLS = 20


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What a challenger may do before it is withdrawn.

    Attributes:
        seconds: a call that takes longer counts as bad, like one that fails.
        bad_share: of the last calls, that may be bad.
    """

    seconds: float = 0.1
    bad_share: float = 0.05


TOLERANCE = Tolerance()


class Rollout:
    """A challenger beside its champion. Used on the event loop only.

    Args:
        plan: what was asked for.
        champion, challenger: with the same signature.
        tolerance: when to withdraw the challenger.
        metrics: told of all calls of both.
        on_withdraw: called once, with the reason.
    """

    def __init__(
        self,
        plan: Plan,
        champion: Model,
        challenger: Model,
        tolerance: Tolerance,
        metrics: Metrics,
        on_withdraw: Callable[["Rollout", str], None],
    ) -> None:
        self.plan = plan
        self.champion = champion
        self.challenger = challenger
        self.seconds = tolerance.seconds
        self._bad_share = tolerance.bad_share
        self._metrics = metrics
        self._on_withdraw = on_withdraw
        self._recent: deque[bool] = deque()
        self._bad = 0
        self._series = {
            champion: metrics.rollout_series(champion.manifest, "champion"),
            challenger: metrics.rollout_series(challenger.manifest, "challenger"),
        }

    def is_canary(self, request_id: str) -> bool:
        """Say whether the challenger answers this request; the same for the same id, in every worker."""
        digest = hashlib.blake2b(request_id.encode(), digest_size=8).digest()
        return int.from_bytes(digest) < self.plan.canary * 2**64

    def note(self, model: Model, seconds: float, *, failed: bool) -> None:
        """Take down a call of one of the two; a challenger that fails or is slow too often is withdrawn."""
        histogram, errors = self._series[model]
        histogram.observe(seconds)
        errors.inc(failed)
        if model is self.champion:
            return
        if len(self._recent) == RECENT_CALLS:
            self._bad -= self._recent.popleft()
        self._recent.append(failed or seconds > self.seconds)
        self._bad += self._recent[-1]
        if len(self._recent) >= ENOUGH_CALLS and self._bad > self._bad_share * len(self._recent):
            reason = f"{self._bad} of its last {len(self._recent)} calls failed or took more than {self.seconds:g} s"
            self._on_withdraw(self, reason)

    async def noted(self, model: Model, outputs: Awaitable[Outputs]) -> Outputs:
        """Wait for the outputs of one of the two, and take down how long that took or that it failed.

        Raises:
            InferenceFailedError: the outputs raise it, or the challenger's are not finite.
            DeadlineError: the outputs raise it.
        """
        started = time.perf_counter()
        try:
            arrays = await outputs
            if model is self.challenger and not is_finite(arrays):
                raise InferenceFailedError("the challenger's outputs are not finite")
        except (InferenceFailedError, DeadlineError):
            self.note(model, time.perf_counter() - started, failed=True)
            raise
        self.note(model, time.perf_counter() - started, failed=False)
        return arrays

    def note_agreement(self, rows: int, agreed: int) -> None:
        """Take down for how many of the rows answered by both they name the same class."""
        self._metrics.rollout_compared(self.challenger.manifest, rows, agreed)

    def note_dropped(self) -> None:
        """Take down that a copy was dropped, because too many wait."""
        self._metrics.rollout_dropped(self.challenger.manifest)


def is_finite(outputs: Outputs) -> bool:
    """Say whether no value is NaN or infinite."""
    return all(bool(np.isfinite(array).all()) for array in outputs.values())
