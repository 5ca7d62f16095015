"""A log that the broker rewrites, by compaction and under other settings of the topic, is the same log."""

import asyncio
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from itertools import count

import pytest
from faust.types import TP
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from rankstream.streams.topics import ACTIONS
from rankstream.streams.worker.offsets import Bounds, records_at
from tests.builders.actions import MORNING_MS
from tests.builders.broker import BrokerInUse
from tests.kafka.harness import PARTITIONS, Bench, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

SOON = {"cleanup.policy": "compact", "segment.ms": "500", "min.cleanable.dirty.ratio": "0.01"}
BROKER_ID = "1"
USERS, OTHERS, ROLLING = ([f"{name}{number}" for number in range(40)] for name in ("u", "o", "r"))
NONE_LEFT: Mapping[TP, int] = {}
REWRITTEN = {"compression.type": "gzip", "message.timestamp.type": "LogAppendTime"}


@pytest.fixture(scope="module")
def quick_cleaner(broker: BrokerInUse) -> Iterator[None]:
    """Have the broker look every second for what it can compact, not every 15 seconds."""
    if not broker.is_kafka:
        pytest.skip("the embedded broker keeps topics as they are")
    set_(broker.bootstrap_servers, ConfigResourceType.BROKER, BROKER_ID, {"log.cleaner.backoff.ms": "500"})
    yield
    set_(broker.bootstrap_servers, ConfigResourceType.BROKER, BROKER_ID, {"log.cleaner.backoff.ms": "15000"})


def set_(servers: str, kind: ConfigResourceType, name: str, config: dict[str, str]) -> None:
    with closing(KafkaAdminClient(bootstrap_servers=servers)) as admin:
        admin.alter_configs([ConfigResource(kind, name, config)])


def act(bench: Bench, users: Collection[str], items: range) -> None:
    for item in items:
        for user in users:
            event = {"user_id": user, "item_id": item, "action": "view", "timestamp_ms": MORNING_MS + item}
            bench.send(ACTIONS, user.encode(), json.dumps(event).encode())
    bench.producer.flush()


def served(bench: Bench) -> dict[bytes, bytes]:
    """Let a worker apply all that there is, and end; return the users' states."""
    worker = bench.worker()
    worker.wait_ready()
    bench.wait_committed(sum(bounds.end for bounds in bench.bounds(ACTIONS).values()), ACTIONS)
    assert worker.terminate() == 0
    return bench.states()


def last_users(bench: Bench) -> dict[TP, str]:
    """Return who acted last, by partition."""
    return {TP(record.topic, record.partition): record.key.decode() for record in bench.read(ACTIONS)}


def wait_for_compaction(bench: Bench, windows: Mapping[TP, Bounds], left: Mapping[TP, int] = NONE_LEFT) -> None:
    """Wait until nothing is left between these offsets; but the one that is named, where one is."""
    numbers = count(1_000)

    def is_compacted() -> bool:
        act(bench, ROLLING, range(one := next(numbers), one + 1))  # so that segments end
        found = asyncio.run(records_at(bench.settings, windows))
        firsts = {tp: record.offset for tp, record in found.items() if record is not None}
        return all(
            firsts[tp] == left[tp] if tp in left else firsts.get(tp, one.end) >= one.end for tp, one in windows.items()
        )

    wait_until(is_compacted, "the log is compacted", every_s=1.0)


def test_positions_are_good_where_compaction_has_rewritten_the_last_record_that_was_applied_or_taken_it(
    bench, quick_cleaner
):
    """As the topic's compression and its times are others now, too, new batches are made otherwise."""
    bench.create_topics()
    act(bench, USERS, range(5))
    served(bench)
    silent = {tp: user for tp, user in last_users(bench).items() if tp.partition >= PARTITIONS // 2}
    windows = {tp: Bounds(0, bounds.end) for tp, bounds in bench.bounds(ACTIONS).items()}
    left = {tp: windows[tp].end - 1 for tp in silent}
    topic = bench.names.of(ACTIONS)
    set_(bench.settings.bootstrap_servers, ConfigResourceType.TOPIC, topic, SOON | REWRITTEN)
    act(bench, [user for user in USERS if user not in silent.values()], range(900, 905))
    wait_for_compaction(bench, windows, left)
    states = served(bench)
    assert len(states) == len(USERS) + len(ROLLING)
