"""Request log: JSON lines and traces of single requests."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest
import serving_kit as kit
from cluster import free_port
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from waiting import WAIT_SECONDS

from serving.protocol import inference_pb2 as pb

pytestmark = pytest.mark.slow

INFER = f"/v2/models/{kit.NAME}/infer"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}


def call_by_grpc(port, method, message, **metadata):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
        pairs = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
        return call.with_call(message.SerializeToString(), metadata=pairs, timeout=WAIT_SECONDS)


@pytest.fixture
def collector():
    """A place for traces: its address, and the spans that came there."""
    spans: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):  # the name that http.server calls
            body = self.rfile.read(int(self.headers["content-length"]))
            body = gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                spans.extend(span for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", spans
    server.shutdown()
    server.server_close()


def attributes(span):
    return {entry.key: entry.value.string_value or entry.value.int_value for entry in span.attributes}


def test_every_request_is_a_line_of_json_with_its_id(repository, data):
    port = free_port()
    with kit.Server(repository, "--log-format", "json", "--grpc-port", str(port)) as server:
        right = server.client.post(INFER, json=kit.inference_request(data[0][:1]), headers={"x-request-id": "mine"})
        wrong = server.client.get("/nothing?secret=1")
        _, call = call_by_grpc(port, "ServerLive", pb.ServerLiveRequest(), x_request_id="mine-too")
        server.stop()
        lines = [json.loads(line) for line in server.log if line]

    assert {"time", "level", "logger", "message"} <= set.intersection(*(set(line) for line in lines))
    logged = {line["request_id"]: line for line in lines if "status" in line}
    assert (logged["mine"]["method"], logged["mine"]["path"], logged["mine"]["status"]) == ("POST", INFER, 200)
    assert right.headers["x-request-id"] == "mine"
    assert logged[wrong.headers["x-request-id"]]["status"] == 404
    assert logged[wrong.headers["x-request-id"]]["path"] == "/nothing"
    assert logged["mine-too"]["status"] == "OK"
    assert ("x-request-id", "mine-too") in call.trailing_metadata()


def test_without_being_asked_no_request_is_logged(repository, data):
    with kit.Server(repository) as server:
        server.client.post(INFER, json=kit.inference_request(data[0][:1]), headers={"x-request-id": "mine"})
        server.stop()
        assert not any("mine" in line for line in server.log)


def test_every_request_is_a_span_in_the_trace_of_its_client(repository, data, collector):
    endpoint, spans = collector
    port = free_port()
    arguments = ("--log-format", "json", "--grpc-port", str(port))
    with kit.Server(repository, *arguments, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as server:
        server.client.post(INFER, json=kit.inference_request(data[0][:1]), headers={"x-request-id": "mine"} | PARENT)
        server.client.get("/v2")
        call_by_grpc(port, "ServerLive", pb.ServerLiveRequest(), **PARENT)
        assert server.stop() == 0
        lines = [json.loads(line) for line in server.log if line]

    infer, other, call = sorted(spans, key=lambda span: span.start_time_unix_nano)
    assert (infer.trace_id.hex(), infer.parent_span_id.hex()) == (TRACE, "b7ad6b7169203331")
    # By route, so that what clients choose does not multiply the names.
    names = ["POST /v2/models/{model}/infer", "GET /v2", "inference.GRPCInferenceService/ServerLive"]
    assert [infer.name, other.name, call.name] == names
    assert attributes(infer) == {
        "http.request.method": "POST",
        "url.path": INFER,
        "http.route": "/v2/models/{model}/infer",
        "http.response.status_code": 200,
        "mnistflow.request.id": "mine",
    }
    assert other.trace_id.hex() != TRACE
    assert call.trace_id.hex() == TRACE
    assert attributes(call)["rpc.response.status_code"] == "OK"
    assert [line["trace_id"] for line in lines if line.get("request_id") == "mine"] == [TRACE]


def test_a_collector_that_is_not_there_harms_nobody(repository, data):
    nowhere = f"http://127.0.0.1:{free_port()}"
    with kit.Server(repository, OTEL_EXPORTER_OTLP_ENDPOINT=nowhere, OTEL_EXPORTER_OTLP_TIMEOUT="1") as server:
        assert server.client.post(INFER, json=kit.inference_request(data[0][:1])).status_code == 200
        assert server.stop() == 0
