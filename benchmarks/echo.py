"""The floor under a worker's latency: requests are read and answered at once, without a thought, by the same clients.

    python -m benchmarks.echo HOST:PORT PREFIX      (``benchmarks.latency --floor`` starts it)

One loop, no group, no users, no ranking, no transactions, no pace: what is left are brokers, network and two clients of
aiokafka, and an answer as large as a feed of 50 items.
"""

import asyncio
import sys

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from rankstream.ranking.request import RankingRequest
from rankstream.streams.connection import READ_COMMITTED
from rankstream.streams.topics import ACTIONS, FEEDS, REQUESTS, TopicNames

PADDING = "x" * 6_000  # bytes: 50 items with their scores
FETCH_WAIT_MS = 50


async def echo(servers: str, prefix: str) -> None:
    """Answer until the process is ended."""
    names = TopicNames(prefix)
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers,
        isolation_level=READ_COMMITTED,
        fetch_max_wait_ms=FETCH_WAIT_MS,
        auto_offset_reset="earliest",
    )
    await producer.start()
    await consumer.start()
    partitions = await producer.partitions_for(names.of(REQUESTS))
    consumer.assign([TopicPartition(names.of(topic), number) for topic in (ACTIONS, REQUESTS) for number in partitions])
    decode = msgspec.json.Decoder(RankingRequest).decode
    while True:
        for tp, records in (await consumer.getmany(timeout_ms=1_000)).items():
            if tp.topic == names.of(REQUESTS):
                for record in records:
                    value = msgspec.json.encode({"request_id": decode(record.value).request_id, "padding": PADDING})
                    await producer.send(names.of(FEEDS), value, record.key, partition=tp.partition)


if __name__ == "__main__":
    asyncio.run(echo(*sys.argv[1:]))
