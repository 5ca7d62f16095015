"""Avro by a schema registry through a worker, which is away at first: actions and requests beside JSON, redriven."""

import importlib.util
import json
import time
from base64 import b64decode
from dataclasses import replace

import pytest

from rankstream.events.dumps import dump_path, read_dump
from rankstream.streams.framed.reader import REFUSED_FOR_S, SchemaReader
from rankstream.streams.framed.registry import Registry
from rankstream.streams.topics import ACTIONS, DEAD_LETTERS, FEEDS, REQUESTS
from tests.builders.actions import MORNING_MS
from tests.builders.cli import connected, rankstream
from tests.builders.registry import ACTION, REQUEST, FakeRegistry, a_registry, avro
from tests.kafka.harness import Bench, wait_until

pytest.importorskip("fastavro", reason="fastavro is not installed: pip install 'rankstream[avro]'")
pytestmark = [pytest.mark.broker, pytest.mark.slow]
ENGINE = "plain" if importlib.util.find_spec("numba") is None else "compiled"  # which reads columns
COUNT = 300


def send_actions(bench: Bench) -> None:
    """Send actions, every third as JSON, the others in Avro."""
    for number in range(COUNT):
        user = f"u{number % 9}"
        row = {"user_id": user, "item_id": number, "action": "view", "timestamp_ms": MORNING_MS + number * 400}
        bench.send(ACTIONS, user.encode(), json.dumps(row).encode() if number % 3 == 0 else avro(1, row))


def dumped(bench: Bench) -> list[dict[str, object]]:
    """Return the actions of a dump, which are JSON whatever the topic holds."""
    registry = ("--value-format", "avro", "--schema-registry", bench.settings.schema_registry)
    words = ("topics", "dump", str(bench.folder), "--topic", ACTIONS.name)
    assert rankstream(*words, *connected(bench.settings), *registry).exit_code == 0
    return [json.loads(one.value or b"") for one in read_dump(dump_path(bench.folder, ACTIONS.name), ACTIONS.name)]


def states_of_json(bench: Bench, registry: FakeRegistry) -> dict[bytes, bytes]:
    reader = SchemaReader(Registry(bench.settings), ACTIONS)
    return bench.expected_states(reader.read)


def test_avro_beside_json_waits_for_its_schemas_and_leads_to_the_states_of_json(bench: Bench):
    with a_registry() as registry:
        registry.broken = 503
        bench.settings = replace(
            bench.settings, value_format="avro", schema_registry=registry.url, engine=ENGINE, partitions=1
        )
        bench.create_topics()
        send_actions(bench)
        unknown = avro(99, {"user_id": "u3", "item_id": 7, "action": "save", "timestamp_ms": MORNING_MS})
        bench.send(ACTIONS, b"u3", unknown)
        request = {"request_id": "r1", "user_id": "u1", "limit": 3, "candidates": None}
        bench.send(REQUESTS, b"u1", avro(2, request, REQUEST))
        bench.producer.flush()
        worker = bench.worker()
        wait_until(lambda: "records wait for schema 1, and are not lost" in worker.log, "the worker waits")
        registry.register(1, ACTION)
        registry.register(2, REQUEST)
        registry.broken = None
        bench.wait_committed(COUNT + 2)
        assert [json.loads(one.value)["request_id"] for one in bench.read(FEEDS)] == ["r1"]
        (letter,) = [json.loads(one.value) for one in bench.read(DEAD_LETTERS)]
        assert (letter["reason"], b64decode(letter["value_base64"])) == ("unknown-schema", unknown)
        registry.register(99, ACTION)
        time.sleep(REFUSED_FOR_S)
        assert rankstream("dead-letters", "redrive", *connected(bench.settings)).exit_code == 0
        bench.wait_committed(COUNT + 3)
        assert len(bench.read(DEAD_LETTERS)) == 1
        assert worker.terminate() == 0
        assert len(dumped(bench)) == COUNT + 2
        assert bench.states() == states_of_json(bench, registry)
