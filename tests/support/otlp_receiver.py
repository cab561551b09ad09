"""A collector for tests: a process that takes OTLP over HTTP and gRPC, and writes each span as a line of JSON.

``python otlp_receiver.py [HTTP_PORT GRPC_PORT]`` prints the two ports, then the spans, and null after each request. The
answer is chosen over HTTP by the path, over gRPC by the header ``x-answer``. It is not discreet: where it can
say something, it repeats the caller's token.
"""

from __future__ import annotations

import gzip
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

lock = threading.Lock()
PROTOBUF = "application/x-protobuf"


def plain(attributes):
    return {a.key: value(a.value) for a in attributes}


def value(given):
    found = getattr(given, given.WhichOneof("value"))
    return [value(item) for item in found.values] if given.HasField("array_value") else found


def take(request, via):
    lines = []
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                line = {
                    "via": via,
                    "resource": plain(resource.resource.attributes),
                    "trace_id": span.trace_id.hex(),
                    "span_id": span.span_id.hex(),
                    "parent_id": span.parent_span_id.hex(),
                    "name": span.name,
                    "start_ns": span.start_time_unix_nano,
                    "end_ns": span.end_time_unix_nano,
                    "attributes": plain(span.attributes),
                    "status": span.status.code,
                    "events": [[event.name, plain(event.attributes)] for event in span.events],
                }
                lines.append(json.dumps(line))
    with lock:
        print(*lines, "null", sep="\n", flush=True)


def rejecting(said, rejected=3):
    return ExportTraceServiceResponse(
        partial_success=ExportTracePartialSuccess(rejected_spans=rejected, error_message=said)
    )


class Http(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        said = f"you said {self.headers.get('authorization')}"
        match self.path.removeprefix("/"):
            case "v1/traces":
                take(ExportTraceServiceRequest.FromString(body), "http")
                self.answer(200, ExportTraceServiceResponse().SerializeToString(), PROTOBUF)
            case "partial":
                self.answer(200, rejecting(said).SerializeToString(), PROTOBUF)
            case "warning":
                self.answer(200, rejecting(said, 0).SerializeToString(), PROTOBUF)
            case "garbage":
                self.answer(200, b"\xff\xff\xff", PROTOBUF)
            case "page":
                self.answer(200, b"<html>", "text/html")
            case "hang":
                threading.Event().wait()
            case status:
                self.answer(int(status), said.encode(), "text/plain")

    def answer(self, status, content, kind):
        self.send_response(status)
        self.send_header("content-type", kind)
        if status == 429:
            self.send_header("retry-after", "7")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args):
        pass


class Grpc(TraceServiceServicer):
    def Export(self, request, context):
        said = dict(context.invocation_metadata())
        answer, token = said.get("x-answer"), f"you said {said.get('authorization')}"
        if answer is None:
            take(request, "grpc")
            return ExportTraceServiceResponse()
        if answer in ("partial", "warning"):
            return rejecting(token, 3 if answer == "partial" else 0)
        if answer == "hang":
            threading.Event().wait()
        if answer == "RESOURCE_EXHAUSTED":
            detail = Any()
            detail.Pack(RetryInfo(retry_delay=Duration(seconds=7, nanos=500_000_000)))
            status = Status(code=8, message=token, details=[detail])
            context.set_trailing_metadata([("grpc-status-details-bin", status.SerializeToString())])
        context.abort(grpc.StatusCode[answer], token)


if __name__ == "__main__":
    http_port, grpc_port = map(int, sys.argv[1:] or (0, 0))
    server = grpc.server(ThreadPoolExecutor(8))
    add_TraceServiceServicer_to_server(Grpc(), server)
    grpc_port = server.add_insecure_port(f"127.0.0.1:{grpc_port}")
    server.start()
    http = ThreadingHTTPServer(("127.0.0.1", http_port), Http)
    http.daemon_threads = True
    print(json.dumps({"http": http.server_port, "grpc": grpc_port}), flush=True)
    http.serve_forever()
