import asyncio
import logging
from collections.abc import Callable

import pytest
from faust.types import TP

from rankstream.events.action_event import Recorded
from rankstream.streams import topics
from rankstream.streams.framed.reader import SchemaReader
from rankstream.streams.framed.registry import Registry
from rankstream.streams.worker import framed_chunks
from rankstream.streams.worker.chunks import Chunk, Fetched
from rankstream.streams.worker.framed_chunks import FramedChunks
from tests.builders.actions import MORNING_MS
from tests.builders.registry import FakeRegistry, a_registry, framed, of_registry

TEXT = b'{"user_id":"u1"}'


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(framed_chunks, "RETRY_S", 0.01)
    with a_registry() as served:
        served.register(7, {}, "JSON")
        yield served


def a_chunk(value: bytes) -> Chunk:
    record = Recorded("user-actions", 0, 5, MORNING_MS, b"u1", value)
    return Chunk(TP("user-actions", 0), Fetched(5, [record], 8, 3), 5, 1)


def chunks_of(registry: FakeRegistry) -> FramedChunks:
    return FramedChunks(SchemaReader(Registry(of_registry(registry, value_format="json")), topics.ACTIONS))


def prepare(chunks: FramedChunks, chunk: Chunk, is_wanted: Callable[[], bool] = lambda: True) -> list[bytes | None]:
    """Return the chunk's values as they are processed then."""
    asyncio.run(chunks.prepare(chunk, is_wanted))
    return [one.value for one in chunk.as_json(chunk.records)]


def test_a_chunk_is_read_as_json_and_keeps_what_was_sent(registry):
    chunk = a_chunk(framed(7, TEXT))
    assert prepare(chunks_of(registry), chunk) == [TEXT]
    assert chunk.records[0].value == framed(7, TEXT)


def test_a_chunk_of_json_asks_for_nothing(registry):
    assert prepare(chunks_of(registry), a_chunk(TEXT)) == [TEXT]
    assert prepare(FramedChunks(None), a_chunk(TEXT)) == [TEXT]
    assert registry.asked == []


def test_records_wait_while_the_registry_is_away(registry, caplog):
    caplog.set_level(logging.INFO)
    registry.broken, chunks, seen = 503, chunks_of(registry), list[str]()

    def is_wanted() -> bool:
        seen.append(chunks.away)
        if len(seen) == 4:
            registry.broken = None
        return True

    assert prepare(chunks, a_chunk(framed(7, TEXT)), is_wanted) == [TEXT]
    assert "HTTP 503" in seen[-1]
    assert chunks.away == ""
    told = [one.getMessage() for one in caplog.records]
    assert len(told) == 2  # not one a try
    assert "wait for schema 7, and are not lost" in told[0]


def test_nobody_waits_for_the_schema_of_a_record_that_is_skipped(registry):
    registry.broken, chunk = 503, a_chunk(framed(7, TEXT))
    asyncio.run(chunks_of(registry).prepare(chunk, lambda: True, range(3, 6)))
    assert registry.asked == []


def test_a_chunk_that_nobody_wants_any_more_waits_no_longer(registry):
    registry.broken, chunks = 503, chunks_of(registry)
    wanted = iter([True, True, False])
    prepare(chunks, a_chunk(framed(7, TEXT)), lambda: next(wanted))
    assert len(registry.asked) == 2
    assert chunks.away == ""
