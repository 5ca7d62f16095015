"""What becomes a span of a request, and that nothing else of a feed depends on it."""

import subprocess
import sys
import time
from dataclasses import dataclass, replace

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from rankstream.ranking.request import Ranking, Variant
from rankstream.ranking.serving import LiveRanker
from rankstream.streams import spans as spans_module
from rankstream.streams.records import Channel
from rankstream.streams.tracing import NO_TRACES, TracesRefusedError, open_traces
from tests.builders.actions import ARecord, a_pipeline, a_request, an_event, decoded
from tests.builders.bundle import a_bundle
from tests.builders.traces import CALLER, TRACE, TRACEPARENT, Collector, KeptSpans, children

RANK = "rankstream.rank"


@dataclass
class AHeadedRecord(ARecord):
    headers: tuple[tuple[str, bytes | None], ...] = ()


def a_traced_request(*headers, **more):
    return AHeadedRecord(**vars(a_request(**more)), headers=headers or (("traceparent", TRACEPARENT.encode()),))


def traced(serving=None, **options):
    pipeline = a_pipeline(serving)
    pipeline.traces = KeptSpans(**options)
    return pipeline, pipeline.traces


def parts(feed):
    """Trace, span and flags of the traceparent that a feed has."""
    return dict(feed.trace.headers)["traceparent"].decode().split("-")[1:]


def test_a_request_is_a_span_of_its_callers_trace_and_its_stages_are_below_it(tmp_path):
    pipeline, kept = traced(LiveRanker.open(a_bundle(tmp_path / "bundle")))
    (feed,) = pipeline.on_requests([a_traced_request(candidates=[1, 2])]).answer()
    rank = kept.named(RANK)
    assert (rank.trace, rank.parent, rank.kind, rank.error) == (TRACE, CALLER, 5, None)
    stages = ["decode", "state", "wait", "retrieve", "join", "score", "blend"]
    assert children(kept.all, rank) == stages
    ends = [one.end_ns for one in kept.all if one is not rank and one.parent == rank.id]
    assert [kept.named(name).begin_ns for name in stages] == [rank.begin_ns, *ends[:-1]]
    assert parts(feed) == [TRACE, rank.id, "01"]


def test_stages_last_as_long_as_the_feed_says(tmp_path):
    pipeline, kept = traced(LiveRanker.open(a_bundle(tmp_path / "bundle")))
    (feed,) = decoded(pipeline.on_requests([a_traced_request(candidates=[1, 2])]).answer())
    took_ms = {one.name: (one.end_ns - one.begin_ns) / 1e6 for one in kept.all}
    for stage in ("retrieve", "join", "score", "blend"):
        assert took_ms[stage] == pytest.approx(feed["timings_ms"][stage], abs=1e-5)


def test_a_span_says_where_its_record_lay_and_what_came_of_it_but_not_who_asked_or_for_what():
    pipeline, kept = traced()
    pipeline.on_actions([an_event("somebody", "some item")])
    pipeline.on_requests([a_traced_request(user="somebody", offset=7, candidates=["some item"])]).answer()
    about = kept.named(RANK).attributes
    assert (about["messaging.system"], about["messaging.destination.name"]) == ("kafka", "ranking-requests")
    assert (about["messaging.destination.partition.id"], about["messaging.kafka.offset"]) == ("0", 7)
    assert (about["rankstream.request_id"], about["rankstream.model_version"]) == ("r1", "echo")
    assert about["rankstream.actions_used"] == 1
    assert "some" not in str(kept.all)


def test_without_a_trace_one_begins_at_the_worker():
    pipeline, kept = traced()
    (feed,) = pipeline.on_requests([a_request()]).answer()
    assert kept.named(RANK).parent == ""
    assert parts(feed)[1] == kept.named(RANK).id


UNREAD = [
    [("traceparent", b"")],
    [("traceparent", None)],
    [("traceparent", b"00-nonsense-01")],
    [("traceparent", b"\xff\xfe" * 27)],
    [("traceparent", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01")],
    [("traceparent", b"x" * 100_000)],
    [("tracestate", b"=,=,="), ("baggage", b"%%%=;;")],
]


@pytest.mark.parametrize("headers", UNREAD, ids=["empty", "null", "text", "bytes", "zeros", "long", "others"])
def test_headers_that_can_not_be_read_are_passed_over(headers):
    pipeline, kept = traced()
    feeds = pipeline.on_requests([a_traced_request(*headers)]).answer()
    assert [one.channel for one in feeds] == [Channel.FEEDS]
    assert (kept.named(RANK).parent, kept.named(RANK).error) == ("", None)


def test_who_does_not_sample_is_followed_and_the_trace_goes_on():
    pipeline, kept = traced()
    (feed,) = pipeline.on_requests([a_traced_request(("traceparent", TRACEPARENT[:-1].encode() + b"0"))]).answer()
    assert kept.all == []
    assert (parts(feed)[0], parts(feed)[2]) == (TRACE, "00")
    pipeline, kept = traced(sampler=ParentBased(ALWAYS_OFF))
    pipeline.on_requests([a_request(), a_traced_request()]).answer()
    assert [one.trace for one in kept.all if one.name == RANK] == [TRACE]


def test_state_and_baggage_of_a_trace_go_on():
    pipeline, _ = traced()
    given = ("tracestate", b"vendor=1"), ("baggage", b"shop=north")
    (feed,) = pipeline.on_requests([a_traced_request(("traceparent", TRACEPARENT.encode()), *given)]).answer()
    assert set(given) < set(feed.trace.headers)


BAD = [
    (a_traced_request(deadline_ms=1_600_000_000_000), "deadline-passed"),
    (a_traced_request(limit=3, top_k=0), "schema"),
    (AHeadedRecord(b"{", b"u1", topic="ranking-requests"), "not-json"),
    (replace(a_traced_request(), key=b"other"), "key-mismatch"),
]


@pytest.mark.parametrize(("record", "reason"), BAD, ids=[reason for _, reason in BAD])
def test_a_request_that_has_no_feed_is_an_error_with_the_reason_that_its_answer_has(record, reason):
    pipeline, kept = traced()
    outgoing = pipeline.on_requests([record]).answer()
    rank = kept.named(RANK)
    assert (rank.error, rank.attributes["error.type"]) == (reason, reason)
    assert all(parts(one)[1] == rank.id for one in outgoing)


def test_an_action_that_is_rejected_is_an_error_in_its_senders_trace():
    pipeline, kept = traced()
    traced_one = AHeadedRecord(b"{", headers=(("traceparent", TRACEPARENT.encode()),))
    letters = pipeline.on_actions([traced_one, an_event(offset=1), ARecord(b"{", offset=2)])
    (reject,) = kept.all  # what is part of no trace begins none
    assert (reject.name, reject.trace, reject.parent, reject.error) == ("rankstream.reject", TRACE, CALLER, "not-json")
    assert parts(letters[0])[1] == reject.id
    assert letters[1].trace.headers == ()


def test_a_bug_that_a_request_ran_into_is_an_error(monkeypatch):
    pipeline, kept = traced()
    monkeypatch.setattr(pipeline.serving.current, "rank", lambda *given: 1 // 0)
    assert len(pipeline.on_requests([a_traced_request()]).answer()) == 2
    assert kept.named(RANK).error == "internal"


def test_what_is_answered_without_scoring_says_so():
    pipeline, kept = traced()
    pipeline.on_too_many([a_traced_request()]).by_popularity()
    assert kept.named(RANK).attributes["rankstream.fallback"] == "popularity"


def test_in_an_experiment_a_span_names_its_variant():
    ranking = Ranking((), (), "m1", 3, 40, True, 0, variant=Variant("treatment", 0.1, "autumn"))
    assert spans_module.attributes_of(ranking)["rankstream.variant"] == "treatment"
    assert "rankstream.variant" not in spans_module.attributes_of(replace(ranking, variant=None))


def test_what_is_sent_is_the_same_to_the_byte_with_traces_and_without():
    records = [a_traced_request(), *(record for record, _ in BAD), a_request("u2", limit=5)]
    pipeline, _ = traced()
    pipeline.log_served = True
    plain = a_pipeline()
    plain.log_served = True
    assert pipeline.on_requests(records).answer() == plain.on_requests(records).answer()
    assert all(one.trace.headers == () for one in plain.on_requests(records).answer())


def test_without_the_setting_nothing_is_imported():
    program = (
        "import sys, rankstream.streams.pipeline as _; from rankstream.streams.tracing import NO_TRACES, open_traces;"
        "assert open_traces('off', 's') is NO_TRACES and 'opentelemetry' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_the_extra_the_refusal_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "rankstream.streams.spans", None)
    with pytest.raises(TracesRefusedError, match=r"pip install 'rankstream\[otel\]', or set traces = off"):
        open_traces("otlp", "s")
    assert open_traces("off", "s") is NO_TRACES


NAMES = [({}, "rankstream-worker"), ({"OTEL_SERVICE_NAME": "my-ranker"}, "my-ranker")]


@pytest.mark.parametrize(("said", "service"), NAMES, ids=["ours", "said"])
def test_a_collector_receives_what_the_variables_of_opentelemetry_say(monkeypatch, said, service):
    with Collector() as collector:
        for name, value in (said | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}).items():
            monkeypatch.setenv(name, value)
        pipeline = a_pipeline()
        pipeline.traces = open_traces("otlp", "rankstream-worker", "g")
        pipeline.on_requests([a_traced_request()]).answer()
        pipeline.traces.close()
    assert [one.name for one in collector.of(TRACE)] == ["rankstream.rank", "decode", "state", "wait"]
    assert {one.service for one in collector.spans} == {service}


def test_a_provider_that_is_there_already_is_used(monkeypatch):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept := InMemorySpanExporter()))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)  # as `opentelemetry-instrument` sets it, once a process
    pipeline = a_pipeline()
    pipeline.traces = open_traces("otlp", "s", "g")
    pipeline.on_requests([a_request()]).answer()
    pipeline.traces.close()  # is not ours to close
    pipeline.on_requests([a_request()]).answer()
    assert [one.name for one in kept.get_finished_spans()].count(RANK) == 2


def test_a_collector_that_is_away_holds_nothing_up(monkeypatch, caplog):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "20")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    monkeypatch.setattr(spans_module, "CLOSE_S", 0.1)
    pipeline = a_pipeline()
    pipeline.traces = open_traces("otlp", "s", "g")
    assert len(pipeline.on_requests([a_request(offset=n) for n in range(20)]).answer()) == 20
    queue = pipeline.traces._processor._batch_processor._queue
    assert len(queue) <= 20
    started = time.monotonic()
    pipeline.traces.close()
    assert time.monotonic() - started < 1.0
    assert "they are lost" in caplog.text
