"""Handlers of the Open Inference Protocol without a transport: metadata, statistics, repository, settings.

`DataPlane` runs inference.
"""

from collections.abc import Collection, Mapping
from typing import Any

from serving.engine.data_plane import DataPlane
from serving.engine.model import Model
from serving.engine.repository import VERSION
from serving.errors import InvalidRequestError, UnknownModelError
from serving.metrics import triton
from serving.metrics.prometheus import Metrics
from serving.metrics.triton import Counts
from serving.protocol import metadata
from serving.settings import Settings, own_version

EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "statistics")
# In Triton's form. A server of ours logs information, warnings and errors to standard error.
LOG_SETTINGS: Mapping[str, str | bool | int] = {
    "log_file": "",
    "log_info": True,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
    "log_format": "default",
}


class ProtocolHandlers:
    """Handlers for REST and gRPC. Responses are dictionaries with the keys of the protocol.

    Version numbers are strings, as a client wrote them; None or empty for the champion. Methods that take a name raise
    UnknownModelError if there is no such model or version, and NotReadyError if it is not fit to serve.
    """

    def __init__(self, plane: DataPlane, settings: Settings, metrics: Metrics, *, is_tracing: bool = False) -> None:
        self._plane = plane
        self._metrics = metrics
        self._max_rows = settings.max_rows
        self._is_tracing = is_tracing
        self._server = {"name": "mnistflow", "version": own_version(), "extensions": EXTENSIONS}

    async def model(self, name: str, number: str | None) -> Model:
        """Return a version of a model."""
        if not number:
            return await self._plane.model(name)
        if not VERSION.fullmatch(number):
            raise UnknownModelError("this model has no such version")
        return await self._plane.model(name, int(number))

    def describe_server(self) -> dict[str, Any]:
        """Return the server's metadata."""
        return self._server

    async def describe_model(self, name: str, number: str | None) -> dict[str, Any]:
        """Return a model's metadata."""
        model = await self.model(name, number)
        versions = self._plane.models.versions(model.name)
        return metadata.describe_model(model.name, versions, model.inputs, model.outputs)

    async def describe_configuration(self, name: str, number: str | None) -> dict[str, Any]:
        """Return a model's configuration in Triton's format."""
        model = await self.model(name, number)
        version = self._plane.models.serving.get(model.name)
        return metadata.describe_configuration(model.name, version, model.inputs, model.outputs, self._max_rows)

    def statistics(self, name: str, number: str | None) -> dict[str, Any]:
        """Return the statistics of versions in memory: all of them, those of one model, or those of one version."""
        known = self._plane.models.versions(name) if name else ()
        if name and number and number not in map(str, known):
            raise UnknownModelError("this model has no such version")
        counted = triton.versions(self._metrics.collect())
        wanted = [
            (entry["name"], entry["version"])
            for entry in self.index(only_ready=True)
            if name in ("", entry["name"]) and number in (None, "", entry["version"])
        ]
        return {"model_stats": [triton.describe(*key, counted.get(key, Counts())) for key in wanted]}

    async def load(self, name: str) -> None:
        """Make a model available again, and try its champion even if that was refused before."""
        await self._plane.models.load(name)

    def unload(self, name: str) -> None:
        """Drop a model from memory; running requests are answered."""
        self._plane.models.unload(name)

    def index(self, only_ready: bool) -> list[dict[str, Any]]:
        """Return the state of every version in the repository, or only of those in memory."""
        return [
            {"name": state.name, "version": str(state.version), "state": state.state, "reason": state.reason}
            for state in self._plane.models.states()
            if state.state == "READY" or not only_ready
        ]

    def trace_settings(self, changes: Collection[str]) -> Mapping[str, str | list[str]]:
        """Return the settings of traces in Triton's form.

        Raises:
            InvalidRequestError: there are changes; they cannot be made while the server runs.
        """
        if changes:
            raise InvalidRequestError("traces are set when the server starts, by OpenTelemetry's environment variables")
        return {
            "trace_mode": "opentelemetry",
            "trace_level": ["TIMESTAMPS"] if self._is_tracing else ["OFF"],
            "trace_rate": "1",
            "trace_count": "-1",
            "log_frequency": "0",
            "trace_file": "",
        }

    def log_settings(self, changes: Collection[str]) -> Mapping[str, str | bool | int]:
        """Return the settings of logs in Triton's form.

        Raises:
            InvalidRequestError: there are changes; they cannot be made while the server runs.
        """
        if changes:
            raise InvalidRequestError("logs are set when the server starts, by --log-format")
        return LOG_SETTINGS
