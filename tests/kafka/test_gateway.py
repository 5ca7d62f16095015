"""The gateway over Kafka, with a worker process: what is sent is applied, and each gets its own answers."""

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import msgspec
import pytest
from aiokafka.errors import TopicAuthorizationFailedError

from rankstream.gateway.app import Gateway
from rankstream.gateway.kafka_road import KafkaRoad
from rankstream.gateway.settings import GatewaySettings
from rankstream.streams.broker import EmbeddedBroker
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.codec import RankedFeed
from rankstream.streams.partitioner import partition_of
from rankstream.streams.topics import ACTIONS, FEEDS, IMPRESSIONS, REQUESTS
from tests.builders.cli import NO_BROKER, fresh_topics
from tests.builders.gateway import RunningGateway, a_click
from tests.builders.traces import CALLER, TRACE, TRACEPARENT, Collector, KeptSpans, children, named
from tests.kafka.harness import PARTITIONS, Bench, wait_until

pytestmark = pytest.mark.broker


def a_gateway(settings, ack_timeout_s=5.0, **given):
    return RunningGateway(KafkaRoad(settings, ack_timeout_s), **{"answer_timeout_ms": 20_000} | given)


@pytest.fixture(scope="module")
def collector():
    with Collector() as made:
        yield made


@pytest.fixture(scope="module")
def served(broker, collector, tmp_path_factory):
    """A bench with a worker, which takes seconds to join its group: one for all tests that only ask.

    It keeps traces of those requests that are part of one.
    """
    bench = Bench(broker.bootstrap_servers, tmp_path_factory.mktemp("served"), broker.session_timeout_s)
    bench.settings = replace(bench.settings, traces="otlp")
    bench.create_topics()
    told = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    bench.worker(**told, OTEL_TRACES_SAMPLER="parentbased_always_off").wait_ready()
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def gateway(served):
    with a_gateway(served.settings) as running:
        yield running


def test_an_action_is_seen_by_the_next_request(gateway):
    assert gateway.call("POST", "/actions", [a_click("u7"), a_click("u7", item_id="b")]).status == 200
    feed = gateway.call("POST", "/rank", {"request_id": "r7", "user_id": "u7", "limit": 3})
    assert (feed.status, feed.document["request_id"], feed.document["actions_used"]) == (200, "r7", 2)


def test_an_unknown_user_has_a_feed_too(gateway):
    feed = gateway.call("POST", "/rank", {"user_id": "never seen", "limit": 3})
    assert (feed.status, feed.document["actions_used"]) == (200, 0)


def test_records_have_the_key_and_the_partition_of_their_user(gateway, served):
    users = [f"user {number}" for number in range(40)] + [7, "ünï"]
    assert gateway.call("POST", "/actions", [a_click(user) for user in users]).document["accepted"] == 42
    found = {record.key: record.partition for record in served.read(ACTIONS)}
    keys = [str(user).encode() for user in users]
    assert {key: found.get(key) for key in keys} == {key: partition_of(key, PARTITIONS) for key in keys}


def test_many_at_once_each_get_their_own_feed(gateway):
    def ask(number):
        user = f"crowd{number % 20}"
        feed = gateway.call("POST", "/rank", {"request_id": f"crowd-{number}", "user_id": user, "limit": 1})
        return (feed.status, feed.document.get("request_id")) == (200, f"crowd-{number}")

    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(ask, range(200)))
    assert gateway.gateway.in_flight == 0


def test_two_gateways_at_once_answer_only_their_own(gateway, served):
    with a_gateway(served.settings) as other, ThreadPoolExecutor(8) as pool:
        ask = lambda at, name: at.call("POST", "/rank", {"request_id": name, "user_id": "shared", "limit": 1})  # noqa: E731
        pairs = [(gateway if number % 2 else other, f"two-{number}") for number in range(20)]
        answers = list(pool.map(lambda pair: ask(*pair), pairs))
    assert [one.document["request_id"] for one in answers] == [name for _, name in pairs]
    assert all(one.status == 200 for one in answers)


def test_what_others_ask_for_is_followed_from_now_on(gateway, served):
    connection = gateway.connection()
    connection.request("GET", "/feeds/followed")
    stream = connection.getresponse()
    assert stream.readline() == b": from now on\n"
    served.send(REQUESTS, b"followed", json.dumps({"request_id": "f", "user_id": "followed", "limit": 1}).encode())
    served.producer.flush()
    assert [stream.readline() for _ in range(2)] == [b"\n", b"event: feed\n"]
    assert json.loads(stream.readline().removeprefix(b"data: "))["request_id"] == "f"
    connection.close()


def test_a_trace_leads_from_a_call_through_the_records_headers_to_the_feed(served, collector):
    kept = KeptSpans()
    road = KafkaRoad(served.settings, 5.0)
    with RunningGateway(gateway=Gateway(road, GatewaySettings(port=0), traces=kept)) as running:
        assert running.call("POST", "/actions", a_click("traced")).status == 200
        asked = {"request_id": "traced", "user_id": "traced", "limit": 1}
        assert running.call("POST", "/rank", asked, traceparent=TRACEPARENT).status == 200
    call, action = kept.named("POST /rank"), kept.named("POST /actions")
    sent = kept.named(f"send {served.names.of(REQUESTS)}")
    assert (call.parent, sent.parent) == (CALLER, call.id)
    feeds_sent = f"send {served.names.of(FEEDS)}"
    wait_until(lambda: feeds_sent in [one.name for one in collector.of(TRACE)], "the worker's spans are there")
    spans = collector.of(TRACE)
    rank = named(spans, "rankstream.rank")
    assert (rank.parent, rank.kind, rank.service) == (sent.id, 5, "rankstream-worker")
    assert rank.attributes["messaging.consumer.group.name"] == served.settings.app_id
    assert children(spans, rank) == ["decode", "state", "wait", feeds_sent]
    headers = {topic: parents(served.read(topic)) for topic in (ACTIONS, FEEDS)}
    assert headers[FEEDS][b"traced"] == (TRACE, rank.id)
    assert headers[ACTIONS][b"traced"] == (action.trace, kept.named(f"send {served.names.of(ACTIONS)}").id)


def parents(records):
    """By key: trace and span that a record of the one that has a trace names."""
    found = {one.key: dict(one.headers).get("traceparent") for one in records}
    return {key: tuple(text.decode().split("-")[1:3]) for key, text in found.items() if text is not None}


def test_impressions_need_their_topic(gateway, bootstrap_servers):
    shown = {"list_id": "l", "user_id": 7, "item_ids": [1, 2], "timestamp_ms": int(time.time() * 1000)}
    error = gateway.call("POST", "/impressions", shown).document["error"]
    assert error["reason"] == "no-topic"
    assert error["message"].startswith("there was no topic impressions when the gateway began; `rankstream topics c")
    with a_gateway(fresh_topics(bootstrap_servers)) as running:
        assert running.gateway.road.why_lacks(IMPRESSIONS) is None
        assert running.call("POST", "/impressions", shown).document == {"accepted": 1, "rejected": []}


def test_feeds_that_can_not_be_read_are_said(gateway, monkeypatch):
    async def refuse(*, timeout_ms):
        raise TopicAuthorizationFailedError("ranked-feeds")

    with monkeypatch.context() as patch:
        patch.setattr(gateway.gateway.road._consumer, "getmany", refuse)
        wait_until(lambda: gateway.call("GET", "/ready").status == 503, "the gateway is not ready")
        assert "TopicAuthorizationFailedError" in gateway.call("GET", "/ready").document["error"]["message"]
    wait_until(lambda: gateway.call("GET", "/ready").status == 200, "the gateway is ready again")
    assert gateway.call("POST", "/rank", {"user_id": "u", "limit": 1}).status == 200


def test_without_a_worker_a_request_ends_in_504(bootstrap_servers):
    with a_gateway(fresh_topics(bootstrap_servers), answer_timeout_ms=300) as running:
        answer = running.call("POST", "/rank", {"user_id": "u", "limit": 1})
        assert (answer.status, answer.reason) == (504, "no-answer")
        assert running.call("GET", "/ready").status == 200


def test_feeds_of_before_are_nobodys(bench):
    bench.create_topics()
    old = RankedFeed("r1", "u1", 1, items=[])
    bench.send(FEEDS, b"u1", msgspec.json.encode(old))
    bench.producer.flush()
    with a_gateway(bench.settings, answer_timeout_ms=300) as running:
        assert running.call("POST", "/rank", {"request_id": "r1", "user_id": "u1", "limit": 1}).status == 504


def test_no_broker_or_no_topics_at_the_start_is_one_sentence(bench, monkeypatch):
    monkeypatch.setattr("rankstream.streams.clients.connect.BOOTSTRAP_MS", 300)
    monkeypatch.setattr("rankstream.streams.clients.connect.NEW_TOPIC_S", 0.0)
    with pytest.raises(ClientError, match="refuses connections"), a_gateway(Bench(NO_BROKER, bench.folder, 6).settings):
        pass
    with pytest.raises(ClientError, match="has no topic"), a_gateway(bench.settings):
        pass


def test_a_broker_that_is_gone_is_said_and_one_that_is_back_is_used(tmp_path):
    with EmbeddedBroker() as broker:
        bench = Bench(broker.bootstrap_servers, tmp_path, 6.0)
        bench.create_topics()
        with a_gateway(bench.settings, answer_timeout_ms=300) as running:
            assert running.call("POST", "/actions", a_click()).status == 200
            broker.process.kill()
            broker.process.wait()
            wait_until(lambda: running.call("GET", "/ready").status == 503, "the gateway is not ready")
            answer = running.call("POST", "/actions", a_click())
            assert (answer.status, answer.reason, answer.headers["Retry-After"]) == (503, "no-broker", "1")
            why = lambda: running.call("GET", "/ready").document["error"]["message"]  # noqa: E731
            wait_until(lambda: "refuses connections" in why(), "the reason is known")
            assert running.call("GET", "/live").status == 200
            broker.start()
            bench.create_topics()
            wait_until(lambda: running.call("GET", "/ready").status == 200, "the gateway is ready again")
            wait_until(lambda: running.call("POST", "/actions", a_click()).status == 200, "actions are taken again")
            assert_feeds_come(running, bench)
        bench.close()


def test_it_ends_as_asked_while_the_broker_is_away(tmp_path):
    with EmbeddedBroker() as broker:
        bench = Bench(broker.bootstrap_servers, tmp_path, 6.0)
        bench.create_topics()
        with a_gateway(bench.settings) as running:
            broker.process.kill()
            broker.process.wait()
            wait_until(lambda: running.call("GET", "/ready").status == 503, "the gateway is not ready")
        bench.close()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "standing still"])
def test_on_kafka_feeds_go_on_after_an_outage(kafka, tmp_path, how):
    bench = Bench(kafka.bootstrap_servers, tmp_path, 6.0)
    bench.create_topics()
    with a_gateway(bench.settings, ack_timeout_s=1.0) as running:
        assert_feeds_come(running, bench)
        kafka.process.send_signal(signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        wait_until(lambda: running.call("GET", "/ready").status == 503, "the gateway is not ready")
        assert running.call("POST", "/actions", a_click()).reason == "no-broker"
        if how == "killed":
            kafka.process.wait()
            kafka.start()
        else:
            kafka.process.send_signal(signal.SIGCONT)
        wait_until(lambda: running.call("GET", "/ready").status == 200, "the gateway is ready again")
        wait_until(lambda: running.call("POST", "/actions", a_click()).status == 200, "actions are taken again")
        assert_feeds_come(running, bench)
    bench.close()


def assert_feeds_come(running, bench):
    """Follow a user, and have a feed written by a new producer."""
    connection = running.connection(60)
    connection.request("GET", "/feeds/u1")
    stream = connection.getresponse()
    assert stream.readline() == b": from now on\n"
    bench.forget_producer()
    bench.send(FEEDS, b"u1", msgspec.json.encode(RankedFeed("back", "u1", 1, items=[])))
    assert b"back" in next(line for line in stream if line.startswith(b"data: "))  # behind any signs of life
    connection.close()
