"""What traces cost a request: its way through the pipeline without them, with them, and where it is not sampled.

    python -m benchmarks.traces BUNDLE [--candidates 256] [--rounds 15]

CPU time of the thread that decodes, ranks and encodes, for chunks of requests of users with a hundred actions: the
three ways take turns, chunk by chunk, so that each round has ratios of its own. ``BUNDLE`` as of ``rankstream demo``.
With traces each request also has the span of its sending; what is kept goes to an exporter that drops it, so what
packing spans costs, in a thread of its own, is timed apart.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time, thread_time

import msgspec
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler

from rankstream.events.action_event import ActionEvent
from rankstream.features.ids import id_bytes
from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.ranking.request import RankingRequest
from rankstream.ranking.serving import LiveRanker
from rankstream.streams.columns import Headed
from rankstream.streams.pipeline import Pipeline, wall_clock_ms
from rankstream.streams.records import Channel, recorded_actions
from rankstream.streams.spans import Spans
from rankstream.streams.tracing import NO_TRACES, Traces

USERS, ACTIONS, CHUNK, CHUNKS = 20, 100, 16, 6
TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Dropping(SpanExporter):
    """Takes spans and keeps none."""

    def export(self, spans: object) -> SpanExportResult:
        """Say that they are taken."""
        return SpanExportResult.SUCCESS


def spans(sampler: Sampler | None = None, exporter: SpanExporter | None = None) -> Spans:
    """Return what makes spans; without a sampler every request is sampled."""
    provider = TracerProvider(sampler, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter or Dropping()))
    return Spans(provider, "benchmark")


def a_pipeline(bundle: Path) -> Pipeline:
    """Return a pipeline whose users have a hundred actions each."""
    pipeline = Pipeline(UserCache(MemoryStore()), LiveRanker.open(bundle))
    action, now_ms = pipeline.serving.vocabulary.actions[0], wall_clock_ms()
    for user in range(USERS):
        events = [ActionEvent(user, item, action, now_ms - 1000 * (ACTIONS - item)) for item in range(1, ACTIONS + 1)]
        pipeline.on_actions(recorded_actions(events, user * ACTIONS))
    return pipeline


def chunk_of(first: int, candidates: int) -> list[Headed]:
    """Return requests as a gateway with traces sends them."""
    now_ms, headers = wall_clock_ms(), [("traceparent", TRACEPARENT)]
    return [
        Headed("ranking-requests", 0, n, now_ms, id_bytes(n % USERS), a_request(n, candidates), headers)
        for n in range(first, first + CHUNK)
    ]


def a_request(number: int, candidates: int) -> bytes:
    """Return the bytes of a request."""
    return msgspec.json.encode(RankingRequest(number, number % USERS, tuple(range(1, candidates + 1))))


def answered(pipeline: Pipeline, records: list[Headed]) -> None:
    """Answer, and note what is sent as the outbox does."""
    for one in pipeline.on_requests(records).answer():
        if one.channel is Channel.FEEDS:
            one.trace.sent("ranked-feeds", None)


def took_s(work: Callable[[], object]) -> float:
    """Return the CPU time of this thread."""
    started = thread_time()
    work()
    return thread_time() - started


def round_us(pipeline: Pipeline, ways: dict[str, Traces], candidates: int) -> dict[str, float]:
    """Return us of CPU a request of each way, chunk by chunk in turns."""
    total = dict.fromkeys(ways, 0.0)
    for chunk in range(CHUNKS):
        for name, traces in ways.items():
            pipeline.traces, records = traces, chunk_of(chunk * CHUNK, candidates)
            total[name] += took_s(lambda records=records: answered(pipeline, records))  # type: ignore[misc]
    return {name: 1e6 * seconds / (CHUNKS * CHUNK) for name, seconds in total.items()}


def packing_us(pipeline: Pipeline, candidates: int) -> tuple[float, float]:
    """Return us of CPU that the spans of a request take to be packed, and their number."""
    kept = InMemorySpanExporter()
    pipeline.traces = spans(exporter=kept)
    answered(pipeline, chunk_of(0, candidates))
    found: tuple[ReadableSpan, ...] = kept.get_finished_spans()
    started = process_time()
    for _ in range(20):
        encode_spans(found).SerializeToString()
    return 1e6 * (process_time() - started) / 20 / CHUNK, len(found) / CHUNK


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("bundle", type=Path)
    options.add_argument("--candidates", type=int, default=256)
    options.add_argument("--rounds", type=int, default=15)
    given = options.parse_args()
    pipeline = a_pipeline(given.bundle)
    ways: dict[str, Traces] = {"off": NO_TRACES, "not sampled": spans(ALWAYS_OFF), "traced": spans()}
    round_us(pipeline, ways, given.candidates)
    rounds = [round_us(pipeline, ways, given.candidates) for _ in range(given.rounds)]
    for name in ways:
        each, ratios = [one[name] for one in rounds], [one[name] / one["off"] for one in rounds]
        more = median(one[name] - one["off"] for one in rounds)
        spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
        print(f"{name:12} {median(each):8.0f} us a request, {more:+6.0f} us: {median(ratios):.3f} of off ({spread})")
    us, count = packing_us(pipeline, given.candidates)
    print(f"{'packing':12} {us:8.0f} us a request of {count:.0f} spans, beside it")


if __name__ == "__main__":
    main()
