"""Requests and calls as OpenTelemetry's spans; imported only where the setting ``traces`` asks for it.

::

    POST /rank                          a gateway's call             SERVER
      send ranking-requests             until brokers have it        PRODUCER   its context is in the record's headers
        rankstream.rank                 a worker's request           CONSUMER   its context is in the feed's headers
          decode state wait             as the pipeline goes on
          retrieve join score blend     as ``Ranking.timings_ms`` has them
          send ranked-feeds             until brokers have it        PRODUCER
        rankstream.reject               an action that is none       CONSUMER   its context is in the dead letter's

Everything with a standard is the SDK's: ``OTEL_...`` variables choose collector, sampler, propagators and limits.
Attributes are those of the semantic conventions, and some under ``rankstream.``; users and items are in none of them.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Thread
from time import time_ns

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from rankstream import __version__
from rankstream.events.action_event import Record
from rankstream.ranking.request import Ranking, RankingRequest
from rankstream.streams.tracing import UNTRACED, CallTrace, Headers, RequestTrace, Traces

log = logging.getLogger(__name__)

MAX_HEADER_BYTES = 8192  # of those that a trace may be in: baggage may be so large, by W3C
UNNAMED = "unknown_service"  # how the SDK names a service that nobody has named
CLOSE_S = 2.0  # for the last spans: a collector that is away holds no worker up
RANK_STAGES = ("retrieve", "join", "score", "blend")  # of ``Ranking.timings_ms``, in their order

Attributes = dict[str, str | int | float]


class CarriedOn(RequestTrace):
    """A trace of which nothing more is kept here, though whoever comes after learns of it."""

    def __init__(self, headers: Headers) -> None:
        self.headers = headers


class RequestSpan(RequestTrace):
    """The span of one request, and those of its stages, which are made when it ends: until then they are times."""

    def __init__(self, tracer: Tracer, span: Span, context: Context, began_ns: int, asked_ms: int) -> None:
        """``context`` is what came with its record, ``asked_ms`` the record's time, below 1 if unknown."""
        self._tracer, self._span = tracer, span
        self._context = trace.set_span_in_context(span, context)
        self.headers = headers_in(self._context)
        self._at_ns = began_ns
        self._stages: list[tuple[str, int, int]] = []  # name, from, to
        if asked_ms > 0:
            span.set_attribute("rankstream.record_age_ms", max(0, began_ns // 1_000_000 - asked_ms))

    def decoded(self, request: RankingRequest) -> None:
        """Note that the record is a request."""
        self._stage("decode")
        self._span.set_attribute("rankstream.request_id", str(request.request_id))

    def held(self) -> None:
        """Note that the user's state is at hand."""
        self._stage("state")

    def begun(self) -> None:
        """Note that it is its turn."""
        self._stage("wait")

    def ranked(self, ranking: Ranking) -> None:
        """Note the answer, whose stages followed each other from the last time on."""
        timings_ms = ranking.timings_ms
        for stage in RANK_STAGES:
            if stage in timings_ms:
                self._stage(stage, self._at_ns + int(1e6 * timings_ms[stage]))
        self._span.set_attributes(attributes_of(ranking))

    def failed(self, reason: str) -> None:
        """Note why it is answered with an error, or a dead letter."""
        fail(self._span, reason)

    def answered(self) -> None:
        """End the span, before the making of the others takes its time."""
        self._at_ns = time_ns()
        self._span.end(self._at_ns)
        for name, begin_ns, end_ns in self._stages:
            self._tracer.start_span(name, self._context, start_time=begin_ns).end(end_ns)

    def sent(self, topic: str, failure: BaseException | None) -> None:
        """Keep a span of the sending, which began when all was made."""
        name, about = f"send {topic}", sending(topic)
        span = self._tracer.start_span(name, self._context, SpanKind.PRODUCER, about, start_time=self._at_ns)
        if failure is not None:
            fail(span, type(failure).__name__)
        span.end()

    def _stage(self, name: str, end_ns: int | None = None) -> None:
        begin_ns, self._at_ns = self._at_ns, time_ns() if end_ns is None else end_ns
        self._stages.append((name, begin_ns, self._at_ns))


class CallSpan(CallTrace):
    """The span of one call."""

    def __init__(self, tracer: Tracer, span: Span, context: Context) -> None:
        """``context`` is what came with the call."""
        self._tracer, self._span = tracer, span
        self._context = trace.set_span_in_context(span, context)
        self.headers = headers_in(self._context)

    def asks(self, request_id: object) -> None:
        """Note which request it sends."""
        self._span.set_attribute("rankstream.request_id", str(request_id))

    @contextmanager
    def sending(self, topic: str, records: int) -> Iterator[Headers]:
        """Keep a span of the sending; it is in the headers that the records have."""
        about = {**sending(topic), "messaging.batch.message_count": records}
        span = self._tracer.start_span(f"send {topic}", self._context, SpanKind.PRODUCER, about)
        try:
            yield headers_in(trace.set_span_in_context(span, self._context))
        except BaseException as exc:
            fail(span, type(exc).__name__)
            raise
        finally:
            span.end()

    def answered(self, status: int | None) -> None:
        """End the span; by the conventions only what is the server's fault is an error."""
        if status is None:
            fail(self._span, "cancelled")
        else:
            self._span.set_attribute("http.response.status_code", status)
            if status >= 500:
                fail(self._span, str(status))
        self._span.end()


class Spans(Traces):
    """What begins spans, and ends with those that are left sent."""

    keeps = True

    def __init__(
        self, provider: TracerProvider, group: str | None = None, exporter: SpanExporter | None = None
    ) -> None:
        """``group`` is the consumer group, None where requests come from no topic; ``exporter`` is our own to end."""
        self._tracer = provider.get_tracer("rankstream", __version__)
        self._group = group
        self._exporter = exporter
        self._processor = None if exporter is None else BatchSpanProcessor(exporter)  # bounded: it drops what is more
        if self._processor is not None:
            provider.add_span_processor(self._processor)

    def request(self, record: Record) -> RequestTrace:
        """Begin the span of a request, below that which its record's headers name."""
        began_ns = time_ns()
        kind = SpanKind.INTERNAL if self._group is None else SpanKind.CONSUMER
        about = {} if self._group is None else receiving(record, self._group, "rank")
        context = context_of(getattr(record, "headers", ()))
        span = self._tracer.start_span("rankstream.rank", context, kind, about, start_time=began_ns)
        if span.is_recording():
            return RequestSpan(self._tracer, span, context, began_ns, record.timestamp)
        return CarriedOn(headers_in(trace.set_span_in_context(span, context)))

    def rejected(self, record: Record, reason: str) -> RequestTrace:
        """Keep a span of a record that is rejected, if its headers name a trace: a flood of others begins none."""
        context = context_of(getattr(record, "headers", ()))
        if self._group is None or not trace.get_current_span(context).get_span_context().is_valid:
            return UNTRACED
        about = receiving(record, self._group, "reject")
        span = self._tracer.start_span("rankstream.reject", context, SpanKind.CONSUMER, about)
        fail(span, reason)
        span.end()
        return CarriedOn(headers_in(trace.set_span_in_context(span, context)))

    def call(self, method: str, path: str, scheme: str, headers: Iterable[tuple[str, str]]) -> CallTrace:
        """Begin the span of a call, below that which its headers name."""
        about = {"http.request.method": method, "http.route": path, "url.path": path, "url.scheme": scheme}
        context = context_of(headers)
        span = self._tracer.start_span(f"{method} {path}", context, SpanKind.SERVER, about)
        return CallSpan(self._tracer, span, context)

    def close(self) -> None:
        """Send what is left, within ``CLOSE_S`` or not at all."""
        if self._processor is None or self._exporter is None:
            return
        ending = Thread(target=self._processor.shutdown, name="last spans", daemon=True)  # the SDK waits for 30 s
        ending.start()
        ending.join(CLOSE_S)
        if ending.is_alive():
            log.warning("the collector did not take the last spans within %g s: they are lost", CLOSE_S)
            self._exporter.shutdown()


def open_spans(service: str, group: str | None = None) -> Spans:
    """Return what makes spans: by the provider that ``opentelemetry-instrument`` has set, else one that sends OTLP."""
    known = trace.get_tracer_provider()
    if isinstance(known, TracerProvider):
        return Spans(known, group)
    provider = TracerProvider(resource=resource_of(service), shutdown_on_exit=False)
    return Spans(provider, group, OTLPSpanExporter())


def resource_of(service: str) -> Resource:
    """Return what all spans of this process have in common; what ``OTEL_...`` variables say of it wins."""
    named = Resource.create()
    ours = {SERVICE_NAME: service} if str(named.attributes[SERVICE_NAME]).startswith(UNNAMED) else {}
    return Resource({SERVICE_VERSION: __version__}).merge(named).merge(Resource(ours))


def context_of(headers: Iterable[tuple[str, str | bytes | None]]) -> Context:
    """Return what headers say of the trace that they are part of; those that can't be read say nothing."""
    carrier: dict[str, list[str]] = {}
    for name, value in headers:
        if value is not None and len(value) <= MAX_HEADER_BYTES:
            text = value if isinstance(value, str) else value.decode(errors="replace")
            carrier.setdefault(name.lower(), []).append(text)
    if not carrier:
        return Context()
    try:
        return propagate.extract(carrier, Context())
    except Exception:  # of any propagator: no header makes a request one that can't be ranked
        return Context()


def headers_in(context: Context) -> Headers:
    """Return the headers by which a trace goes on."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context)
    return tuple((name, value.encode()) for name, value in carrier.items())


def receiving(record: Record, group: str, operation: str) -> Attributes:
    """Return what the conventions want to know of a record that is processed."""
    return {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.operation.name": operation,
        "messaging.consumer.group.name": group,
        "messaging.destination.name": record.topic,
        "messaging.destination.partition.id": str(record.partition),
        "messaging.kafka.offset": record.offset,
    }


def sending(topic: str) -> Attributes:
    """Return what the conventions want to know of records that are sent."""
    return {
        "messaging.system": "kafka",
        "messaging.operation.type": "send",
        "messaging.operation.name": "send",
        "messaging.destination.name": topic,
    }


def attributes_of(ranking: Ranking) -> Attributes:
    """Return what an answer says of itself, but for its items."""
    about: dict[str, str | int | None] = {
        "rankstream.candidates": ranking.num_candidates,
        "rankstream.model_version": ranking.model_version,
        "rankstream.actions_used": ranking.actions_used,
        "rankstream.newest_action_age_ms": ranking.newest_action_age_ms,
        "rankstream.unknown_items": ranking.unknown_items,
        "rankstream.fallback": ranking.fallback,
        "rankstream.variant": None if ranking.variant is None else ranking.variant.name,
    }
    return {name: value for name, value in about.items() if value is not None}


def fail(span: Span, reason: str) -> None:
    """Mark a span as that of something that went wrong."""
    span.set_attribute("error.type", reason)
    span.set_status(Status(StatusCode.ERROR, reason))
