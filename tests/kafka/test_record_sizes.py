"""Outputs larger than their topics take: an error feed, a dead letter that is cut, and nobody else notices."""

import asyncio
import json
from base64 import b64decode
from dataclasses import replace
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from kafka import KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from rankstream.streams.topics import ACTIONS, DEAD_LETTERS, FEEDS, REQUESTS, SERVED, Topic
from tests.builders.bundle import a_bundle
from tests.kafka.harness import Bench, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

BROKERS_OWN = 1_048_588  # Kafka's max.message.bytes where a topic has none
LOW = 20_000
LONG_IDS = [f"sku-{n:06d}-" + "x" * 100 for n in range(5_000)]  # 5,000 take well over a megabyte in a feed


@pytest.fixture
def bench(bench: Bench, tmp_path) -> Bench:
    bench.settings = replace(bench.settings, bundle=a_bundle(tmp_path / "bundle"), served_features=True)
    return bench


def create(bench: Bench, topic: Topic, max_bytes: int) -> None:
    """Create a topic that takes records of so many bytes, and all others as workers do."""

    async def go() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=bench.settings.bootstrap_servers)
        await admin.start()
        config = {"max.message.bytes": str(max_bytes)}
        await admin.create_topics([NewTopic(bench.names.of(topic), bench.settings.partitions, 1, topic_configs=config)])
        while bench.names.of(topic) not in await admin.list_topics():
            await asyncio.sleep(0.05)
        await admin.close()

    asyncio.run(go())
    bench.create_topics()


def lower(bench: Bench, topic: Topic, max_bytes: int) -> None:
    """Lower what an existing topic takes."""
    admin = KafkaAdminClient(bootstrap_servers=bench.settings.bootstrap_servers)
    config = {"max.message.bytes": str(max_bytes)}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, bench.names.of(topic), config)])
    admin.close()


def ask(bench: Bench, name: str, candidates: list[Any]) -> None:
    request = {"request_id": name, "user_id": "u1", "candidates": candidates}
    bench.send(REQUESTS, b"u1", json.dumps(request).encode())


def answers(bench: Bench, count: int) -> dict[str, Any]:
    """Wait for so many answers; return them by request."""
    wait_until(lambda: bench.feeds().total() >= count, f"{count} feeds are there")
    feeds = [json.loads(record.value) for record in bench.read(FEEDS)]
    return {feed["request_id"]: feed for feed in feeds}


def dead_letters(bench: Bench, count: int) -> list[Any]:
    wait_until(lambda: bench.dead_letters().total() >= count, f"{count} dead letters are there")
    return [json.loads(record.value) for record in bench.read(DEAD_LETTERS)]


def test_a_feed_that_the_topic_does_not_take_is_an_error_and_everybody_else_is_served(bench):
    create(bench, FEEDS, BROKERS_OWN)
    worker = bench.worker(SERVE="bundle")
    ask(bench, "large", LONG_IDS)
    ask(bench, "small", [1, 2, 3])
    bench.producer.flush()
    got = answers(bench, 2)
    assert got["large"]["error"]["reason"] == "too-large"
    assert "the feed of 5,000 items takes" in got["large"]["error"]["message"]
    assert len(got["small"]["items"]) == 3
    bench.wait_committed(2, REQUESTS)
    assert worker.terminate() == 0
    assert [json.loads(record.value)["request_id"] for record in bench.read(SERVED)] == ["small"]
    assert f"ranked-feeds takes records of up to {BROKERS_OWN} bytes" in worker.log


def test_a_limit_lowered_while_it_runs_ends_nobody(bench, broker):
    if not broker.is_kafka:
        pytest.skip("the embedded broker takes records of any size")
    bench.create_topics()
    worker = bench.worker(SERVE="bundle")
    ask(bench, "before", LONG_IDS[:500])
    bench.producer.flush()
    assert len(answers(bench, 1)["before"]["items"]) == 500
    lower(bench, FEEDS, LOW)
    for number in range(40):  # together larger than the limit, so that a batch of them may be refused
        ask(bench, f"small-{number}", LONG_IDS[:20])
    ask(bench, "large", LONG_IDS[:500])
    bench.producer.flush()
    got = answers(bench, 42)
    assert got.pop("large")["error"]["reason"] == "too-large"
    assert {len(feed["items"]) for name, feed in got.items() if name != "before"} == {20}
    bench.wait_committed(42, REQUESTS)
    assert worker.terminate() == 0


def test_a_dead_letter_that_the_topic_does_not_take_keeps_a_part_of_the_record(bench):
    create(bench, DEAD_LETTERS, LOW)
    worker = bench.worker()
    bench.send(ACTIONS, b"u1", b"x" * 60_000)
    bench.send(ACTIONS, b"u1", b"not JSON")
    bench.producer.flush()
    large, small = sorted(dead_letters(bench, 2), key=lambda letter: -letter["value_bytes"])
    assert (large["value_bytes"], b64decode(small["value_base64"])) == (60_000, b"not JSON")
    assert 10_000 < len(b64decode(large["value_base64"])) < LOW
    bench.wait_committed(2, ACTIONS)
    assert worker.terminate() == 0


def test_a_record_under_a_key_of_3_mb_is_a_dead_letter_too(bench):
    create(bench, DEAD_LETTERS, BROKERS_OWN)
    producer = KafkaProducer(bootstrap_servers=bench.settings.bootstrap_servers, max_request_size=4 << 20)
    request = b'{"request_id": "r1", "user_id": "u1", "candidates": [1]}'
    for topic, value in ((ACTIONS, b"{}"), (REQUESTS, request)):
        producer.send(bench.names.of(topic), value, b"k" * 3_300_000)
    producer.flush()
    worker = bench.worker()
    letters = dead_letters(bench, 2)
    assert {letter["key_bytes"] for letter in letters} == {3_300_000}
    assert answers(bench, 1)["r1"]["error"]["reason"] == "key-mismatch"
    bench.wait_committed(2)
    assert worker.terminate() == 0


def test_a_limit_of_dead_letters_lowered_while_it_runs_ends_nobody(bench, broker):
    if not broker.is_kafka:
        pytest.skip("the embedded broker takes records of any size")
    bench.create_topics()
    worker = bench.worker()
    worker.wait_ready()
    lower(bench, DEAD_LETTERS, LOW)
    for n in range(30):
        bench.send(ACTIONS, b"u1", b"%d" % n + b"x" * (60_000 if n == 7 else 2_000))
    bench.producer.flush()
    letters = dead_letters(bench, 30)
    assert sorted(letter["offset"] for letter in letters) == list(range(30))
    assert [
        letter["offset"] for letter in letters if letter["value_bytes"] > len(b64decode(letter["value_base64"]))
    ] == [7]
    bench.wait_committed(30, ACTIONS)
    assert worker.terminate() == 0
