"""What producers put around an action without changing it: headers of CloudEvents, and of tracing."""

import importlib.util
import json
from dataclasses import replace

import pytest

from rankstream.features.user_state import unpack_state
from rankstream.streams.topics import ACTIONS, DEAD_LETTERS
from tests.kafka.harness import MORNING_MS, Bench

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(120)]
ENGINES = ["plain", *(["compiled"] if importlib.util.find_spec("numba") else [])]


def headers(number: int) -> list[tuple[str, bytes]]:
    """Of an event in binary content mode, by the Kafka protocol binding of CloudEvents 1.0.2, and of a W3C trace."""
    about = {"specversion": "1.0", "type": "shop.view", "source": "/shop", "id": str(number), "partitionkey": "u1"}
    ours = [(f"ce_{name}", value.encode()) for name, value in about.items()]
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    return [("content-type", b"application/json; charset=UTF-8"), *ours, ("traceparent", trace)]


def action(item: int) -> bytes:
    at_ms = MORNING_MS + item * 400
    return json.dumps({"user_id": "u1", "item_id": item, "action": "view", "timestamp_ms": at_ms}).encode()


class InLatin1(str):
    """A header's name as a producer in another language may send it: kafka-python encodes it in UTF-8."""

    def encode(self, *args: object) -> bytes:
        return super().encode("latin-1")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_header_whose_name_is_not_utf_8_costs_no_action_of_its_batch(bench: Bench, engine: str):
    bench.create_topics()
    bench.settings = replace(bench.settings, engine=engine)
    for item in range(40):
        sent = [(InLatin1("café"), b"x")] if item == 7 else []
        bench.producer.send(bench.names.of(ACTIONS), action(item), b"u1", headers=sent)
    bench.producer.flush()
    worker = bench.worker()
    worker.wait_ready()
    bench.wait_committed(40, ACTIONS)
    assert worker.terminate() == 0
    assert bench.read(DEAD_LETTERS) == []
    (state,) = bench.states().values()
    assert unpack_state(state).total == 40


def test_an_action_in_a_cloud_event_is_the_action(bench: Bench):
    bench.create_topics()
    for item in (1, 2, 3):
        bench.producer.send(bench.names.of(ACTIONS), action(item), b"u1", headers=headers(item) if item != 2 else [])
    bench.producer.flush()
    worker = bench.worker()
    worker.wait_ready()
    bench.wait_committed(3)
    assert worker.terminate() == 0
    assert bench.read(DEAD_LETTERS) == []
    assert bench.states("state") == bench.expected_states()
