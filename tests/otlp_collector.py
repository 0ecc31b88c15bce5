"""A collector of traces on loopback: takes OTLP over HTTP from real exporters and keeps the spans."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass(frozen=True)
class ReceivedSpan:
    """A span, and the process that it was made in by the name of its service."""

    service: str
    span: Any


class Collector(ThreadingHTTPServer):
    """Listens at `address`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Reception)
        self.received: list[ReceivedSpan] = []
        self.address = f"http://127.0.0.1:{self.server_port}"

    @property
    def spans(self) -> dict[str, Any]:
        """By name, the last one of each."""
        return {one.span.name: one.span for one in self.received}


class _Reception(BaseHTTPRequestHandler):
    """One request of an exporter."""

    server: Collector

    def do_POST(self) -> None:
        proto = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        for resource in proto.ExportTraceServiceRequest.FromString(body).resource_spans:
            service = attribute(resource.resource, "service.name")
            for scope in resource.scope_spans:
                self.server.received += [ReceivedSpan(service, span) for span in scope.spans]
        self.send_response(200 if self.path == "/v1/traces" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@contextmanager
def otlp_collector() -> Iterator[Collector]:
    """A collector that listens while the block runs."""
    collector = Collector()
    thread = threading.Thread(target=collector.serve_forever)
    thread.start()
    yield collector
    collector.shutdown()
    thread.join()
    collector.server_close()


def attribute(traced: Any, name: str) -> Any:
    """The value of one attribute of a span or a resource."""
    (value,) = (one.value for one in traced.attributes if one.key == name)
    return getattr(value, value.WhichOneof("value"))
