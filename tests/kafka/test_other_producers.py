"""What producers put around an action without changing it: headers of CloudEvents, and of tracing."""

import json

import pytest

from rankstream.streams.topics import ACTIONS, DEAD_LETTERS
from rankstream.streams.worker import unpacking
from tests.kafka.harness import MORNING_MS, Bench

pytestmark = [pytest.mark.broker, pytest.mark.slow]


def headers(number: int) -> list[tuple[str, bytes]]:
    """Of an event in binary content mode, by the Kafka protocol binding of CloudEvents 1.0.2, and of a W3C trace."""
    about = {"specversion": "1.0", "type": "shop.view", "source": "/shop", "id": str(number), "partitionkey": "u1"}
    ours = [(f"ce_{name}", value.encode()) for name, value in about.items()]
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    return [("content-type", b"application/json; charset=UTF-8"), *ours, ("traceparent", trace)]


def action(item: int) -> bytes:
    at_ms = MORNING_MS + item * 400
    return json.dumps({"user_id": "u1", "item_id": item, "action": "view", "timestamp_ms": at_ms}).encode()


@pytest.fixture
def any_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in this process as a worker does."""
    for name in ("MemoryRecords", "PartitionRecords", "FetchResult"):
        monkeypatch.setattr(unpacking.fetcher, name, getattr(unpacking.fetcher, name))
    unpacking.bound_unpacking()


class InLatin1(str):
    """A header's name as a producer in another language may send it: kafka-python encodes it in UTF-8."""

    def encode(self, *args: object) -> bytes:
        return super().encode("latin-1")


def test_an_action_in_a_cloud_event_is_the_action_and_so_is_one_whose_headers_have_any_names(bench: Bench, any_names):
    bench.create_topics()
    for item in (1, 2, 3):
        about = headers(item) if item != 2 else [(InLatin1("café"), b"x")]
        bench.producer.send(bench.names.of(ACTIONS), action(item), b"u1", headers=about)
    bench.producer.flush()
    worker = bench.worker()
    worker.wait_ready()
    bench.wait_committed(3)
    assert worker.terminate() == 0
    assert bench.read(DEAD_LETTERS) == []
    assert bench.states("state") == bench.expected_states()
