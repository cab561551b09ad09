"""A collector for tests: a process that takes OTLP over HTTP and gRPC, and writes each span as a line of JSON.

``python otlp_receiver.py`` prints the two ports, then the spans.
"""

from __future__ import annotations

import gzip
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

lock = threading.Lock()


def take(request, via):
    for resource in request.resource_spans:
        about = {a.key: a.value.string_value for a in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                line = {
                    "via": via,
                    "resource": about,
                    "trace_id": span.trace_id.hex(),
                    "span_id": span.span_id.hex(),
                    "parent_id": span.parent_span_id.hex(),
                    "name": span.name,
                    "start_ns": span.start_time_unix_nano,
                    "end_ns": span.end_time_unix_nano,
                    "attributes": {a.key: a.value.string_value for a in span.attributes},
                    "status": span.status.code,
                    "events": [event.name for event in span.events],
                }
                with lock:
                    print(json.dumps(line), flush=True)
    with lock:
        print("null", flush=True)  # the end of a request


class Http(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        refused = self.path != "/v1/traces"
        if not refused:
            take(trace_service_pb2.ExportTraceServiceRequest.FromString(body), "http")
        self.send_response(400 if refused else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_args):
        pass


class Grpc(trace_service_pb2_grpc.TraceServiceServicer):
    def Export(self, request, _context):
        take(request, "grpc")
        return trace_service_pb2.ExportTraceServiceResponse()


if __name__ == "__main__":
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Grpc(), server)
    grpc_port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    http = ThreadingHTTPServer(("127.0.0.1", 0), Http)
    print(json.dumps({"http": http.server_port, "grpc": grpc_port}), flush=True)
    http.serve_forever()
