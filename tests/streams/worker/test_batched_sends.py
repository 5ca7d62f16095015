"""Records that share a batch reach brokers as if each had been sent by itself."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer

from rankstream.streams.clients.readers import TopicReader
from rankstream.streams.connection import connection_of
from rankstream.streams.records import Channel, Outgoing
from rankstream.streams.topics import FEEDS, TopicNames
from rankstream.streams.tracing import UNTRACED, RequestTrace
from rankstream.streams.worker.batched_sends import send_in_batches
from tests.builders.cli import fresh_topics

pytestmark = pytest.mark.broker


class ATrace(RequestTrace):
    headers = (("traceparent", b"00-1-2-01"), ("tracestate", b""))


# 43 KB; some are part of a trace
RECORDS = [
    Outgoing(Channel.FEEDS, b"u%d" % n, b"%d " % n + b"x" * 700, ATrace() if n % 3 == 0 else UNTRACED)
    for n in range(60)
]


def test_records_that_share_batches_keep_their_order_and_each_has_an_acknowledgement(bootstrap_servers):
    settings = fresh_topics(bootstrap_servers)
    topic = TopicNames(settings.topic_prefix).of(FEEDS)

    async def story():
        async with AIOKafkaProducer(**connection_of(settings, AIOKafkaProducer), max_batch_size=16_384) as producer:
            before = await producer.send(topic, b"before", b"u", partition=0)
            sent = await send_in_batches(producer, topic, 0, RECORDS)
            after = await producer.send(topic, b"after", b"u", partition=0)
            offsets = [(await ack).offset for ack in (before, *(ack for ack, _ in sent), after)]
            return offsets, [list(records) for _, records in sent]

    offsets, batches = asyncio.run(story())
    assert [one for records in batches for one in records] == RECORDS
    assert 1 < len(batches) < 6
    with TopicReader(settings, FEEDS, from_beginning=True) as reader:
        found = [record for record in reader.read_all() if record.partition == 0]
    assert [one.value for one in found] == [b"before", *(one.value for one in RECORDS), b"after"]
    assert [one.key for one in found[1:-1]] == [one.key for one in RECORDS]
    assert [tuple(one.headers) for one in found[1:-1]] == [one.trace.headers for one in RECORDS]
    firsts = [found[offset].value for offset in offsets[1:-1]]
    assert firsts == [records[0].value for records in batches]
