"""Batches that are finished before aiokafka sees them: brokers take them as its producers' own."""

import asyncio
import importlib.util
from typing import Any

import pytest
from aiokafka import TopicPartition

from rankstream.features.stores.cache import Changes
from rankstream.features.stores.memory import MemoryStore
from rankstream.features.stores.rocksdb import POSITION
from rankstream.streams.settings import Settings
from rankstream.streams.topics import CHANGELOG, TopicNames, prepare_topics
from rankstream.streams.worker.limits import Limits
from rankstream.streams.worker.offsets import reader
from rankstream.streams.worker.outbox import Outbox
from rankstream.streams.worker.producers import new_producer
from tests.builders.actions import a_state, an_action
from tests.builders.broker import BrokerInUse

if importlib.util.find_spec("numba") is None:
    pytest.skip("numba is not installed: pip install 'rankstream[fast]'", allow_module_level=True)

from rankstream.streams.compiled.users import ArenaUsers

pytestmark = pytest.mark.broker

KINDS = {"plain": {}, "numbered": {"enable_idempotence": True}, "transactional": {"transactional_id": "t1"}}


def some_changes() -> Changes:
    users, state = ArenaUsers(MemoryStore()), a_state(*[an_action(f"i{n}", n) for n in range(50)])
    for number in range(800):
        users.put(b"u%d" % number, state)
    return users.take_changes(7)


@pytest.mark.parametrize("kind", KINDS)
def test_readers_find_every_record_of_several_batches_and_none_is_refused(broker: BrokerInUse, kind: str):
    """One behind the other, twice: a batch with a wrong number would be refused, or with a wrong transaction unread."""
    if not broker.is_kafka and kind != "plain":
        pytest.skip("the embedded broker numbers no producers")
    where = Settings(bootstrap_servers=broker.bootstrap_servers, topic_prefix=f"whole-{kind}-", partitions=1)
    changes = some_changes()
    states, headers = asyncio.run(_written_and_read(where, KINDS[kind], changes))
    assert states == dict(changes.records)
    assert [name for name, _ in headers] == ["source", "changelog"]


async def _written_and_read(where: Settings, kind: dict[str, Any], changes: Changes) -> tuple[dict[bytes, bytes], Any]:
    await prepare_topics(where)
    producer = new_producer(where, Limits(where), **kind)
    producer._message_accumulator._batch_size = 200_000
    await producer.start()
    names = TopicNames(where.topic_prefix)
    outbox = Outbox(producer, names, 0, Limits(where))
    for _ in range(2):
        if "transactional_id" in kind:
            async with producer.transaction():
                await outbox._log_changes(changes, producer)
        else:
            await outbox._log_changes(changes, producer)
    await producer.stop()
    return await _read(where, names.of(CHANGELOG))


async def _read(where: Settings, topic: str) -> tuple[dict[bytes, bytes], Any]:
    """Return the states, and the headers of the position, once there are two positions."""
    found: list[Any] = []
    async with reader(where) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.seek_to_beginning()
        while sum(record.key == POSITION for record in found) < 2:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += records
    return {one.key: one.value for one in found if one.key != POSITION}, found[-1].headers
