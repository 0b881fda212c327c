"""Tracing: OpenTelemetry spans of requests, exported over OTLP; needs the extra `otel`.

OpenTelemetry's environment variables configure the exporter and the sampler:
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from serving.http.request_log import LOG_FIELDS, Call


class Tracing:
    """Records a span for every call, in the trace of the client, and exports spans in the background."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        resource = Resource.create({SERVICE_NAME: environment.get("OTEL_SERVICE_NAME", "mnistflow")})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("mnistflow")
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def trace_call(self, call: Call) -> Iterator[None]:
        """Hook that records the span of a call, and adds the trace ID to the lines logged meanwhile."""
        parent = self._propagator.extract({"traceparent": call.parent})
        with self._tracer.start_as_current_span(call.span, context=parent, kind=trace.SpanKind.SERVER) as span:
            trace_id = trace.format_trace_id(span.get_span_context().trace_id)
            LOG_FIELDS.set({**LOG_FIELDS.get(), "trace_id": trace_id})
            yield
            status = "http.response.status_code" if isinstance(call.status, int) else "rpc.response.status_code"
            attributes = {"http.request.method": call.method, "url.path": call.path, status: call.status}
            if call.route:
                attributes["http.route"] = call.route
            span.set_attributes(attributes | {"mnistflow.request.id": call.request_id})
            if call.is_server_error:
                span.set_status(trace.StatusCode.ERROR)

    def stop(self) -> None:
        """Export the remaining spans; takes at most the timeout of the exporter."""
        self._provider.shutdown()
