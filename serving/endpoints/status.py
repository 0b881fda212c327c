"""The state of things in one place: who serves, who was refused and why, how a challenger does beside its champion."""

from collections.abc import Mapping
from typing import Any

from serving.engine.model_manager import ModelManager
from serving.http.request import Request
from serving.http.router import Response, Route, json_response
from serving.metrics.prometheus import Metrics

COUNTED = (
    "mnistflow_rollout_seconds_count",
    "mnistflow_rollout_seconds_sum",
    "mnistflow_rollout_errors_total",
    "mnistflow_rollout_compared_total",
    "mnistflow_rollout_agreed_total",
    "mnistflow_rollout_dropped_total",
)
CALLS, SECONDS, ERRORS, COMPARED, AGREED, DROPPED = COUNTED


class StatusEndpoint:
    """Endpoint /status."""

    def __init__(self, models: ModelManager, metrics: Metrics) -> None:
        self._models = models
        self._metrics = metrics

    def routes(self) -> list[Route]:
        return [Route("GET", "/status", self.status)]

    async def status(self, _: Request) -> Response:
        """Say for each model what serves, what does not, and what came of the challenger that is tried."""
        counted = self._metrics.values(*COUNTED)
        models: dict[str, dict[str, Any]] = {
            name: {"champion": champion, "refused": {}, "rollout": self._rollout(name, champion, counted)}
            for name, champion in self._models.serving.items()
        }
        for state in self._models.states():
            if state.refused:
                models[state.name]["refused"][str(state.version)] = state.reason
        return json_response({"models": models})

    def _rollout(
        self, name: str, champion: int | None, counted: Mapping[tuple[str, ...], float]
    ) -> dict[str, Any] | None:
        rollout = self._models.rollout_state(name)
        if rollout is None:
            return None
        spec, state = rollout
        challenger = str(spec.challenger)
        compared = counted.get((COMPARED, name, challenger), 0.0)
        return {
            "challenger": spec.challenger,
            "canary": spec.canary,
            "shadow": spec.shadow,
            "state": state,
            "calls": {
                "champion": _calls(counted, name, str(champion), "champion"),
                "challenger": _calls(counted, name, challenger, "challenger"),
            },
            "compared": int(compared),
            "agreement": counted[AGREED, name, challenger] / compared if compared else None,
            "dropped": int(counted.get((DROPPED, name, challenger), 0)),
        }


def _calls(counted: Mapping[tuple[str, ...], float], *labels: str) -> dict[str, float | None]:
    calls = counted.get((CALLS, *labels), 0.0)
    return {
        "calls": int(calls),
        "errors": int(counted.get((ERRORS, *labels), 0)),
        "mean_milliseconds": round(counted[SECONDS, *labels] / calls * 1000, 3) if calls else None,
    }
