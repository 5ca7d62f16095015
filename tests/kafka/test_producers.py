"""Producers of a worker, on a broker: what is sent to a partition without a leader waits for one, however long."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from aiokafka import AIOKafkaProducer

from rankstream.streams.settings import Settings
from rankstream.streams.topics import DEAD_LETTERS, TopicNames
from rankstream.streams.worker.limits import Limits
from rankstream.streams.worker.producers import new_producer, stop_producer
from tests.kafka.harness import Bench

pytestmark = pytest.mark.broker

PATIENCE_MS = 200  # of aiokafka with a request, and with all that it does not know the leader of


@contextmanager
def nobody_leading(producer: AIOKafkaProducer) -> Iterator[None]:
    """Have the cluster's metadata tell of no leader, as while the only replica of a partition is away."""
    cluster = producer.client.cluster
    found, cluster.leader_for_partition = cluster.leader_for_partition, lambda tp: -1
    try:
        yield
    finally:
        cluster.leader_for_partition = found


async def sent_without_a_leader(settings: Settings, values: list[bytes]) -> list[int]:
    """Return the offsets of records that are sent while nobody leads their partition, for longer than a request."""
    producer = new_producer(settings, Limits(settings), request_timeout_ms=PATIENCE_MS)
    await producer.start()
    name = TopicNames(settings.topic_prefix).of(DEAD_LETTERS)
    await producer.partitions_for(name)
    with nobody_leading(producer):
        sending = [asyncio.create_task(producer.send_and_wait(name, value, partition=0)) for value in values]
        await asyncio.sleep(4 * PATIENCE_MS / 1000)
        assert not any(one.done() for one in sending)
    producer._message_accumulator._waiter_future.set_result(None)  # as the next record would
    offsets = [one.offset for one in await asyncio.gather(*sending)]
    await stop_producer(producer, flush=True)
    return offsets


@pytest.mark.parametrize("values", [[b"small"], [b"x" * 700_000] * 3], ids=["a record", "more than a batch holds"])
def test_what_is_sent_waits_for_a_partition_to_have_a_leader(bench: Bench, values: list[bytes]):
    bench.create_topics()
    assert asyncio.run(sent_without_a_leader(bench.settings, values)) == list(range(len(values)))
