"""What producers compress: every codec of Kafka is read, by workers and by clients, in a plain installation."""

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, codec
from kafka import KafkaProducer

from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.readers import TopicReader
from rankstream.streams.connection import missing_codecs
from rankstream.streams.topics import ACTIONS, FEEDS, REQUESTS
from tests.builders.actions import MORNING_MS
from tests.builders.cli import connected, rankstream
from tests.kafka.harness import Bench, wait_until

pytestmark = [pytest.mark.broker]

CODECS = ("gzip", "lz4", "snappy", "zstd")
ACTIONS_SENT = 40  # of each producer: enough for a batch to be worth compressing
Send = Callable[[Bench, str, list[bytes]], None]


def by_kafka_python(bench: Bench, compression: str, values: list[bytes]) -> None:
    producer = KafkaProducer(
        bootstrap_servers=bench.settings.bootstrap_servers, compression_type=compression, linger_ms=50
    )
    for value in values:
        producer.send(bench.names.of(ACTIONS), value, b"z1")
    producer.flush()
    producer.close()


def by_aiokafka(bench: Bench, compression: str, values: list[bytes]) -> None:
    async def go() -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=bench.settings.bootstrap_servers, compression_type=compression, linger_ms=50
        )
        await producer.start()
        await asyncio.gather(*[await producer.send(bench.names.of(ACTIONS), value, b"z1") for value in values])
        await producer.stop()

    asyncio.run(go())


def by_the_console(bench: Bench, compression: str, values: list[bytes]) -> None:
    home = Path(os.environ.get("KAFKA_HOME") or "/no-kafka-home")
    if not home.is_dir():
        pytest.skip("the console producer is Kafka's own: KAFKA_HOME names no folder")
    command = [str(home / "bin" / "kafka-console-producer.sh"), "--bootstrap-server", bench.settings.bootstrap_servers]
    command += ["--topic", bench.names.of(ACTIONS), "--compression-codec", compression]
    command += ["--reader-property", "parse.key=true", "--reader-property", "key.separator=|"]
    lines = b"".join(b"z1|" + value + b"\n" for value in values)
    subprocess.run(command, input=lines, check=True, capture_output=True)


def some_values() -> list[bytes]:
    events = [
        {"user_id": "z1", "item_id": n, "action": "click", "timestamp_ms": MORNING_MS + n} for n in range(ACTIONS_SENT)
    ]
    return [json.dumps(event).encode() for event in events]


@pytest.mark.parametrize("send", [by_kafka_python, by_aiokafka, by_the_console])
def test_whatever_they_are_compressed_with_actions_are_read(bench: Bench, tmp_path: Path, send: Send):
    bench.create_topics()
    for compression in CODECS:
        send(bench, compression, some_values())
    with TopicReader(bench.settings, ACTIONS, from_beginning=True) as reader:
        assert [record.value for record in reader.read_all()] == some_values() * len(CODECS)
    assert rankstream("topics", "dump", tmp_path / "dump", *connected(bench.settings)).exit_code == 0
    worker = bench.worker()
    bench.wait_committed(ACTIONS_SENT * len(CODECS), ACTIONS)
    bench.send(REQUESTS, b"z1", b'{"request_id": "r1", "user_id": "z1", "candidates": [1, 2, 3]}')
    bench.producer.flush()
    wait_until(lambda: bench.feeds().total(), "the request is answered")
    assert worker.terminate() == 0
    (feed,) = (json.loads(record.value) for record in bench.read(FEEDS))
    assert feed["actions_used"] == ACTIONS_SENT, "sent four times, applied once"


def test_an_installation_that_lacks_a_codec_is_told_which(monkeypatch):
    assert missing_codecs() == []
    monkeypatch.setattr(codec, "cramjam", None)
    assert missing_codecs() == ["lz4", "snappy", "zstd"]


def test_a_client_that_lacks_a_codec_says_what_to_install(bench: Bench, monkeypatch):
    bench.create_topics()
    by_kafka_python(bench, "zstd", some_values())
    monkeypatch.setattr("kafka.codec.zstd", None)
    with (
        TopicReader(bench.settings, ACTIONS, from_beginning=True) as reader,
        pytest.raises(ClientError, match=r"compression can't be undone here .*zstd.*: pip install .*zstandard"),
    ):
        list(reader.read_all())
