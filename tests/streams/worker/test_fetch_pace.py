"""When fetches go out, and how long a broker may keep them."""

import asyncio
from dataclasses import dataclass, field
from time import monotonic
from types import SimpleNamespace

import pytest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest

from rankstream.streams.worker.fetch_pace import HELD_BYTES, FetchPace

LONG_WAIT_MS = 50
OTHER = OffsetRequest.__new__(OffsetRequest)


def a_fetch(min_bytes: int = 1) -> FetchRequest:
    return FetchRequest(LONG_WAIT_MS, min_bytes, 1 << 20, 1, [])


@dataclass
class SomeClient:
    """Notes when it sent what to which broker, and answers fetches with ``records``."""

    records: bytes = b""
    takes_s: float = 0.0
    sent: list[tuple[int, float]] = field(default_factory=list)

    async def send(self, node_id, request):
        self.sent.append((node_id, monotonic()))
        await asyncio.sleep(self.takes_s)
        return SimpleNamespace(node_id=node_id, topics=[("user-actions", [(0, 0, b""), (1, 0, self.records)])])


def sent_by(client: SomeClient, *requests: tuple[int, object], pace_s: float) -> list[int]:
    """Send these one after the other; return whose answers came."""
    FetchPace(client, lambda: pace_s)

    async def story() -> list[int]:
        return [(await client.send(*each)).node_id for each in requests]

    return asyncio.run(story())


@pytest.mark.parametrize(("pace_s", "at_least_s"), [(0.05, 0.1), (0.0, 0.0)])
def test_fetches_of_one_broker_keep_a_pace_and_nothing_else_waits(pace_s, at_least_s):
    client = SomeClient()
    requests = [(1, a_fetch()), (2, a_fetch()), (1, OTHER), (1, a_fetch()), (1, a_fetch())]
    assert sent_by(client, *requests, pace_s=pace_s) == [1, 2, 1, 1, 1]
    times = [at for _, at in client.sent]
    assert times[4] - times[0] >= at_least_s  # two waits of the first broker's three fetches
    if pace_s:
        assert times[2] - times[0] < pace_s  # another broker, another request: at once


def test_while_records_come_quickly_the_broker_keeps_a_fetch_for_more_of_them_but_no_longer_than_the_pace():
    first, second, of_another = a_fetch(), a_fetch(), a_fetch()
    sent_by(SomeClient(records=b"some"), (1, first), (1, second), (2, of_another), pace_s=0.02)
    assert (first._min_bytes, first._max_wait_ms) == (1, LONG_WAIT_MS)
    assert (second._min_bytes, second._max_wait_ms) == (HELD_BYTES, 20)
    assert (of_another._min_bytes, of_another._max_wait_ms) == (1, LONG_WAIT_MS)


@pytest.mark.parametrize("client", [SomeClient(), SomeClient(records=b"some", takes_s=0.025)], ids=["none", "few"])
def test_where_few_records_come_a_fetch_is_answered_at_the_first_of_them(client):
    second = a_fetch()
    sent_by(client, (1, a_fetch()), (1, second), pace_s=0.01)
    assert (second._min_bytes, second._max_wait_ms) == (1, LONG_WAIT_MS)


def test_a_broker_keeps_no_fetch_where_there_is_no_pace():
    second = a_fetch()
    sent_by(SomeClient(records=b"some"), (1, a_fetch()), (1, second), pace_s=0.0)
    assert (second._min_bytes, second._max_wait_ms) == (1, LONG_WAIT_MS)


def test_more_bytes_that_the_operator_asks_for_are_waited_for():
    second = a_fetch(min_bytes=4_096)
    sent_by(SomeClient(records=b"some"), (1, a_fetch()), (1, second), pace_s=0.02)
    assert second._min_bytes == 4_096
