"""Records where another partitioner than Kafka's own has put them, as librdkafka's default does: CRC32 of the key."""

import json
from dataclasses import replace
from zlib import crc32

import pytest

from rankstream.features.user_state import unpack_state
from rankstream.streams.partitioner import partition_of
from rankstream.streams.topics import ACTIONS, FEEDS, REQUESTS, Topic
from tests.builders.actions import MORNING_MS
from tests.builders.cli import connected, rankstream
from tests.kafka.harness import PARTITIONS, Bench, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

USERS = [f"u{number}" for number in range(20)]
WRONG = [user for user in USERS if crc32(user.encode()) % PARTITIONS != partition_of(user.encode(), PARTITIONS)]
EACH = 3


def send_as_librdkafka(bench: Bench, topic: Topic, user: str, value: dict) -> None:
    key = user.encode()
    bench.producer.send(bench.names.of(topic), json.dumps(value).encode(), key, partition=crc32(key) % PARTITIONS)


def send_all(bench: Bench) -> None:
    for number in range(EACH):
        for user in USERS:
            action = {"user_id": user, "item_id": number, "action": "view", "timestamp_ms": MORNING_MS + number}
            send_as_librdkafka(bench, ACTIONS, user, action)
    for user in USERS:
        send_as_librdkafka(bench, REQUESTS, user, {"request_id": user, "user_id": user, "candidates": [1]})
    bench.producer.flush()


def totals(bench: Bench) -> dict[str, int]:
    return {key.decode(): unpack_state(state).total for key, state in bench.states().items()}


def test_records_on_a_wrong_partition_are_rejected_and_redriven_to_the_right_one(bench):
    assert 10 < len(WRONG) < 20
    bench.create_topics()
    worker = bench.worker()
    send_all(bench)
    wait_until(lambda: bench.dead_letters().total() >= 4 * len(WRONG), "what lies wrong is rejected")
    bench.wait_committed((EACH + 1) * len(USERS))
    feeds = [json.loads(record.value) for record in bench.read(FEEDS)]
    errors = {feed["request_id"]: feed["error"]["reason"] for feed in feeds if "error" in feed}
    assert errors == dict.fromkeys(WRONG, "wrong-partition")
    redriven = rankstream("dead-letters", "redrive", "--reason", "wrong-partition", *connected(bench.settings))
    assert f"{4 * len(WRONG)} records were sent again" in redriven.stdout, redriven.stderr
    bench.wait_committed((EACH + 1) * (len(USERS) + len(WRONG)))
    assert worker.terminate() == 0
    assert totals(bench) == dict.fromkeys(USERS, EACH)
    answered = [json.loads(record.value) for record in bench.read(FEEDS)]
    assert {feed["request_id"] for feed in answered if "error" not in feed} == set(USERS)
    assert bench.dead_letters().total() == 4 * len(WRONG), "what was redriven was rejected again"


def test_with_any_partitioner_records_are_taken_wherever_they_lie(bench):
    bench.settings = replace(bench.settings, partitioner="any")
    bench.create_topics()
    worker = bench.worker()
    send_all(bench)
    bench.wait_committed((EACH + 1) * len(USERS))
    assert worker.terminate() == 0
    assert bench.dead_letters().total() == 0
    assert totals(bench) == dict.fromkeys(USERS, EACH)
