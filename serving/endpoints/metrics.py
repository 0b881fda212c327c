"""`GET /metrics`: metrics in Prometheus' text format."""

from serving.http.request import Request
from serving.http.response import Response
from serving.http.router import Route
from serving.metrics.prometheus import Metrics


class MetricsEndpoint:
    """Endpoint /metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def routes(self) -> list[Route]:
        return [Route("GET", "/metrics", self.expose)]

    async def expose(self, _: Request) -> Response:
        return Response(self._metrics.exposition(), media_type=self._metrics.content_type)
