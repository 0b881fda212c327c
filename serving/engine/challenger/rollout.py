"""Rollout of a challenger beside its champion: canary share, measurements, and withdrawal when it does badly."""

import hashlib
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from serving.engine.batcher import Outputs
from serving.engine.model import Model
from serving.engine.repository import RolloutSpec
from serving.engine.residency import ModelLoader, Residency
from serving.errors import DeadlineError, InferenceFailedError, ModelRefusedError, ServingError
from serving.metrics.prometheus import Metrics

log = logging.getLogger(__name__)

# A challenger is judged by its last calls, once there are enough of them.
RECENT_CALLS = 200
MIN_CALLS = 20
# Errors that count against a version. A full queue counts too, as a timeout, but only for canary requests.
# A client that went away does not.
FAILURES = (InferenceFailedError, DeadlineError)


@dataclass(frozen=True, slots=True)
class ChallengerLimits:
    """When a challenger is withdrawn.

    Attributes:
        seconds: a call that takes longer counts as bad, as one that fails does.
        bad_share: the largest share of the last calls that may be bad, 0 to 1.
    """

    seconds: float = 0.1
    bad_share: float = 0.05


class Rollout:
    """A challenger beside its champion. Used on the event loop only.

    Args:
        spec: which challenger, and for which requests.
        champion: the version that serves.
        challenger: a version with the same signature.
        limits: when to withdraw the challenger.
        metrics: counts the calls of both.
        on_withdraw: called with the reason when the challenger has to be withdrawn.
    """

    def __init__(
        self,
        spec: RolloutSpec,
        champion: Model,
        challenger: Model,
        limits: ChallengerLimits,
        metrics: Metrics,
        on_withdraw: Callable[["Rollout", str], None],
    ) -> None:
        self.spec = spec
        self.champion = champion
        self.challenger = challenger
        self.max_seconds = limits.seconds
        self._bad_share = limits.bad_share
        self._metrics = metrics
        self._on_withdraw = on_withdraw
        self._recent: deque[bool] = deque()
        self._bad = 0
        self._series = {
            champion: metrics.rollouts.series(champion.manifest, "champion"),
            challenger: metrics.rollouts.series(challenger.manifest, "challenger"),
        }

    def is_canary(self, request_id: str) -> bool:
        """Return whether the challenger answers this request: the same for the same id, in every worker."""
        digest = hashlib.blake2b(request_id.encode(), digest_size=8).digest()
        return int.from_bytes(digest) < self.spec.canary * 2**64

    def record(self, model: Model, seconds: float, *, failed: bool) -> None:
        """Record a call of one of the two versions; withdraw a challenger that fails or is slow too often."""
        histogram, errors = self._series[model]
        histogram.observe(seconds)
        errors.inc(failed)
        if model is self.champion:
            return
        if len(self._recent) == RECENT_CALLS:
            self._bad -= self._recent.popleft()
        self._recent.append(failed or seconds > self.max_seconds)
        self._bad += self._recent[-1]
        if len(self._recent) >= MIN_CALLS and self._bad > self._bad_share * len(self._recent):
            calls = len(self._recent)
            reason = f"{self._bad} of its last {calls} calls failed or took more than {self.max_seconds:g} s"
            self._on_withdraw(self, reason)

    def record_result(self, model: Model, result: Outputs | ServingError, seconds: float) -> Outputs | ServingError:
        """Record the result of a call, and return it; outputs of the challenger that are not finite become an error.

        Errors that are not those of the version, such as a client that went away, are not recorded.
        """
        if not isinstance(result, ServingError) and model is self.challenger and not is_finite(result):
            result = InferenceFailedError("the challenger's outputs are not finite")
        failed = isinstance(result, FAILURES)
        if failed or not isinstance(result, ServingError):
            self.record(model, seconds, failed=failed)
        return result

    def record_agreement(self, rows: int, agreed: int) -> None:
        """Record on how many of the rows that both versions computed they name the same class."""
        self._metrics.rollouts.record_agreement(self.challenger.manifest, rows, agreed)

    def record_dropped(self) -> None:
        """Record that a shadow request was dropped because too many wait."""
        self._metrics.rollouts.count_dropped(self.challenger.manifest)


class RolloutManager:
    """The rollouts of all models. Used on the event loop only.

    Args:
        residency: has the champions; keeps the challengers in memory.
        loader: knows which versions are refused.
        limits: when challengers are withdrawn.
        metrics: counts calls and withdrawals.

    Attributes:
        active: the rollouts that run now, by model.
    """

    def __init__(self, residency: Residency, loader: ModelLoader, limits: ChallengerLimits, metrics: Metrics) -> None:
        self.active: dict[str, Rollout] = {}
        self._residency = residency
        self._loader = loader
        self._limits = limits
        self._metrics = metrics
        self._withdrawn: dict[str, tuple[RolloutSpec, str]] = {}

    async def update(self, name: str, read_spec: Callable[[], RolloutSpec | None]) -> None:
        """Begin or end the rollout of a model as its specification asks.

        Args:
            name: of the model.
            read_spec: returns the specification; called again after loading, which takes time.
        """
        champion, rollout, spec = self._residency.champions.get(name), self.active.get(name), read_spec()
        if champion is None:
            return
        if rollout is not None:
            if rollout.spec == spec and rollout.champion is champion:
                return
            self._end(rollout)
        if spec is None or not self._should_begin(name, spec, champion):
            return
        async with self._residency.locks[name]:
            try:
                challenger = await self._residency.find_or_load(name, spec.challenger)
            except ModelRefusedError:
                return  # logged and counted by the loader
            if self._residency.champions.get(name) is champion and read_spec() == spec:
                self._begin(spec, champion, challenger)

    def state(self, name: str, spec: RolloutSpec) -> str:
        """Return what became of a specification: `on`, or why its challenger answers no requests."""
        if name in self.active:
            return "on"
        if (name, spec.challenger) in self._loader.refusals:
            return f"refused: {self._loader.refusals[name, spec.challenger]}"
        if name in self._withdrawn:
            return f"withdrawn: {self._withdrawn[name][1]}"
        return "not loaded"

    def _should_begin(self, name: str, spec: RolloutSpec, champion: Model) -> bool:
        is_refused = (name, spec.challenger) in self._loader.refusals
        is_withdrawn = name in self._withdrawn and self._withdrawn[name][0] == spec
        return spec.challenger != champion.version and not is_refused and not is_withdrawn

    def _begin(self, spec: RolloutSpec, champion: Model, challenger: Model) -> None:
        name = champion.name
        if (challenger.inputs, challenger.outputs) != (champion.inputs, champion.outputs):
            self._loader.refuse(name, challenger.version, "its signature differs from that of the champion")
            return
        self._residency.set_challenger(challenger)
        self.active[name] = Rollout(spec, champion, challenger, self._limits, self._metrics, self._withdraw)
        shadow = "on" if spec.shadow else "off"
        log.info("%s: rollout of version %d begins: canary %g, shadow %s", name, spec.challenger, spec.canary, shadow)

    def _withdraw(self, rollout: Rollout, reason: str) -> None:
        name = rollout.challenger.name
        if self.active.get(name) is rollout:
            self._withdrawn[name] = (rollout.spec, reason)
            self._metrics.rollouts.count_withdrawn(rollout.challenger.manifest)
            self._end(rollout)
            log.warning("%s: version %d is withdrawn: %s", name, rollout.challenger.version, reason)

    def _end(self, rollout: Rollout) -> None:
        name = rollout.challenger.name
        del self.active[name]
        self._residency.release_challenger(name)


def is_finite(outputs: Outputs) -> bool:
    """Return whether no value is NaN or infinite."""
    return all(bool(np.isfinite(array).all()) for array in outputs.values())
