"""Spans as tests look at them, kept in memory or received by a collector that stands in the test's own process."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, Sampler

from rankstream.streams.spans import Spans

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"


@dataclass(frozen=True)
class ASpan:
    """One span, whichever way it came."""

    name: str
    kind: int  # of OTLP: 1 internal, 2 server, 4 producer, 5 consumer
    trace: str
    id: str
    parent: str  # empty for a root
    begin_ns: int
    end_ns: int
    attributes: dict[str, Any]
    error: str | None  # None where all is well
    service: str = ""


class KeptSpans(Spans):
    """Keeps spans in memory."""

    def __init__(self, group: str | None = "g", sampler: Sampler = DEFAULT_ON) -> None:
        self._kept = InMemorySpanExporter()
        provider = TracerProvider(sampler, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._kept))
        super().__init__(provider, group)

    @property
    def all(self) -> list[ASpan]:
        """All spans that have ended, in the order of their beginning."""
        found = [
            ASpan(
                one.name,
                one.kind.value + 1,
                f"{one.context.trace_id:032x}",
                f"{one.context.span_id:016x}",
                "" if one.parent is None else f"{one.parent.span_id:016x}",
                one.start_time,
                one.end_time,
                dict(one.attributes),
                None if one.status.is_unset else one.status.description,
            )
            for one in self._kept.get_finished_spans()
        ]
        return in_order(found)

    def forget(self) -> None:
        self._kept.clear()

    def named(self, name: str) -> ASpan:
        return named(self.all, name)


def in_order(spans: Iterable[ASpan]) -> list[ASpan]:
    """Return spans in the order of their beginning, one that holds others before them."""
    return sorted(spans, key=lambda one: (one.begin_ns, -one.end_ns))


def named(spans: Iterable[ASpan], name: str) -> ASpan:
    """Return the only span of this name."""
    (found,) = [one for one in spans if one.name == name]
    return found


def children(spans: Iterable[ASpan], parent: ASpan) -> list[str]:
    """Return the names of those below a span."""
    return [one.name for one in spans if one.parent == parent.id]


class Collector:
    """Receives OTLP over HTTP, as far as the SDK sends it: protobuf, not compressed."""

    def __init__(self) -> None:
        self.spans: list[ASpan] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.spans += spans_in(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def of(self, trace: str) -> list[ASpan]:
        return in_order(one for one in self.spans if one.trace == trace)


def spans_in(body: bytes) -> list[ASpan]:
    found = []
    for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = values(of_resource.resource.attributes)["service.name"]
        for of_scope in of_resource.scope_spans:
            for one in of_scope.spans:
                ids = one.trace_id.hex(), one.span_id.hex(), one.parent_span_id.hex()
                times = one.start_time_unix_nano, one.end_time_unix_nano
                error = one.status.message if one.status.code == 2 else None
                found.append(ASpan(one.name, one.kind, *ids, *times, values(one.attributes), error, service))
    return found


def values(attributes: Iterable[Any]) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
