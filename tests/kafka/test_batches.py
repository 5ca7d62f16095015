"""A small batch that unpacks to more than a worker should hold: it costs neither its memory nor its dead letters."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from rankstream.streams.topics import ACTIONS, DEAD_LETTERS
from tests.kafka.harness import Bench, Worker

pytestmark = [pytest.mark.broker, pytest.mark.slow]

RECORDS, RECORD_BYTES = 400, 500_000  # 200 MB, packed to 200 KB
MB_MORE = 250  # than at the start: three times what a batch may unpack to, as it is copied on the way


def send_batch(bench: Bench, values: list[bytes]) -> None:
    """Send records to partition 0 in one batch of gzip."""

    async def go() -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=bench.settings.bootstrap_servers,
            compression_type="gzip",
            max_batch_size=1 << 30,
            max_request_size=1 << 30,
        )
        await producer.start()
        batch = producer.create_batch()
        for value in values:
            assert batch.append(key=b"u1", value=value, timestamp=None) is not None
        await (await producer.send_batch(batch, bench.names.of(ACTIONS), partition=0))
        await producer.stop()

    asyncio.run(go())


def peak_mb(worker: Worker) -> int:
    """Return the most memory that the process has ever had."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) // 1024


def test_a_batch_of_200_kb_that_unpacks_to_200_mb_is_one_dead_letter(bench):
    bench.create_topics()
    worker = bench.worker()
    worker.wait_ready()
    before = peak_mb(worker)
    send_batch(bench, [b"x" * RECORD_BYTES] * RECORDS)
    send_batch(bench, [b"not JSON"])
    bench.wait_committed(RECORDS + 1, ACTIONS)
    assert peak_mb(worker) - before < MB_MORE
    assert worker.terminate() == 0
    whole, small = (json.loads(record.value) for record in bench.read(DEAD_LETTERS))
    assert (whole["reason"], whole["offset"], small["offset"]) == ("too-large", RECORDS - 1, RECORDS)
    assert f"the batch of offsets 0 to {RECORDS - 1} unpacks to more than 64 MB" in whole["message"]
