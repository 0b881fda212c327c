"""`GET /status`: champions, refused versions with their reasons, and running rollouts."""

from collections.abc import Mapping
from typing import Any

from serving.engine.model_manager import ModelManager
from serving.http.request import Request
from serving.http.response import Response, json_response
from serving.http.router import Route
from serving.metrics.prometheus import Metrics

ROLLOUT_METRICS = (
    "mnistflow_rollout_seconds_count",
    "mnistflow_rollout_seconds_sum",
    "mnistflow_rollout_errors_total",
    "mnistflow_rollout_compared_total",
    "mnistflow_rollout_agreed_total",
    "mnistflow_rollout_dropped_total",
)
CALLS, SECONDS, ERRORS, COMPARED, AGREED, DROPPED = ROLLOUT_METRICS


class StatusEndpoint:
    """Endpoint /status."""

    def __init__(self, models: ModelManager, metrics: Metrics) -> None:
        self._models = models
        self._metrics = metrics

    def routes(self) -> list[Route]:
        return [Route("GET", "/status", self.status)]

    async def status(self, _: Request) -> Response:
        """Respond with the champion, the refused versions and the rollout of each model."""
        values = self._metrics.values(*ROLLOUT_METRICS)
        models: dict[str, dict[str, Any]] = {
            name: {"champion": champion, "refused": {}, "rollout": self._rollout(name, champion, values)}
            for name, champion in self._models.serving.items()
        }
        for state in self._models.states():
            if state.refused:
                models[state.name]["refused"][str(state.version)] = state.reason
        return json_response({"models": models})

    def _rollout(
        self, name: str, champion: int | None, values: Mapping[tuple[str, ...], float]
    ) -> dict[str, Any] | None:
        rollout = self._models.rollout_state(name)
        if rollout is None:
            return None
        spec, state = rollout
        challenger = str(spec.challenger)
        compared = values.get((COMPARED, name, challenger), 0.0)
        return {
            "challenger": spec.challenger,
            "canary": spec.canary,
            "shadow": spec.shadow,
            "state": state,
            "calls": {
                "champion": _calls(values, name, str(champion), "champion"),
                "challenger": _calls(values, name, challenger, "challenger"),
            },
            "compared": int(compared),
            "agreement": values[AGREED, name, challenger] / compared if compared else None,
            "dropped": int(values.get((DROPPED, name, challenger), 0)),
        }


def _calls(values: Mapping[tuple[str, ...], float], *labels: str) -> dict[str, float | None]:
    calls = values.get((CALLS, *labels), 0.0)
    return {
        "calls": int(calls),
        "errors": int(values.get((ERRORS, *labels), 0)),
        "mean_milliseconds": round(values[SECONDS, *labels] / calls * 1000, 3) if calls else None,
    }
