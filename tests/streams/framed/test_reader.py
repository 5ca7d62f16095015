"""Framed actions and requests beside JSON: the same states, the same refusals, and dead letters with what was sent."""

import importlib.util
import json
import re
from base64 import b64decode
from typing import Any

import pytest

from rankstream.events.action_event import Recorded
from rankstream.features.stores.memory import MemoryStore
from rankstream.streams import topics
from rankstream.streams.columns import Headed, columns_of
from rankstream.streams.engine import open_engine
from rankstream.streams.framed.reader import SchemaReader, json_of, open_reader, schema_ids_of
from rankstream.streams.framed.registry import Registry, RegistryAwayError
from rankstream.streams.partitioner import PartitionCheck
from rankstream.streams.setting_fields import SettingsError
from rankstream.streams.settings import Settings
from tests.builders.actions import MORNING_MS, MixingSessions, SomeLiveRanker, a_pipeline, an_event
from tests.builders.registry import (
    ACTION,
    REQUEST,
    FakeRegistry,
    a_proto_file,
    a_registry,
    an_action_message,
    avro,
    framed,
    of_registry,
    serialized,
)

pytest.importorskip("fastavro", reason="fastavro is not installed: pip install 'rankstream[avro]'")
ENGINES = ["plain", *(["compiled"] if importlib.util.find_spec("numba") else [])]
ROW = {"user_id": "u1", "item_id": 5, "action": "view", "timestamp_ms": MORNING_MS}
NO_USER = {"type": "record", "name": "A", "fields": ACTION["fields"][1:]}


@pytest.fixture(scope="module")
def registry():
    with a_registry() as served:
        served.register(1, ACTION)
        served.register(2, NO_USER)
        served.register(3, serialized(a_proto_file()), "PROTOBUF")
        served.register(4, {"type": "object"}, "JSON")
        served.register(5, "not JSON")
        served.register(6, {"type": "record", "name": "R", "fields": [{"name": "next", "type": ["null", "R"]}]})
        served.register(7, "<xs:schema/>", "XSD")
        served.register(8, REQUEST)
        yield served


def a_reader(registry: FakeRegistry, topic: topics.Topic = topics.ACTIONS, **more: Any) -> SchemaReader:
    return SchemaReader(Registry(of_registry(registry)), topic, **more)


def a_record(value: bytes | None, offset: int = 0, key: bytes = b"u1", topic: str = "user-actions") -> Recorded:
    return Recorded(topic, 0, offset, MORNING_MS + offset * 400_000, key, value)


def letters_of(outgoing: list[Any]) -> list[dict[str, Any]]:
    return [json.loads(one.value) for one in outgoing]


def test_avro_protobuf_and_json_of_one_action_are_the_same_action(registry):
    at = {"seconds": MORNING_MS // 1000}
    message = an_action_message(user_id="u1", item_id=5, action="view", timestamp_ms=at).SerializeToString()
    text = json.dumps(ROW).encode()
    values = [avro(1, ROW), framed(3, b"\x02\x02" + message), framed(4, text), text]
    records = a_reader(registry).read([a_record(value) for value in values])
    assert [json.loads(one.value) for one in records] == [ROW] * 4


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("as_columns", [False, True])
def test_states_are_to_the_byte_those_of_json(registry, engine, as_columns):
    rows = [
        ROW | {"user_id": f"u{at % 7}", "item_id": at % 50, "timestamp_ms": MORNING_MS + at * 400_000, "value": at / 8}
        for at in range(300)
    ]
    key_of = [row["user_id"].encode() for row in rows]
    plain = [
        a_record(json.dumps(row).encode(), at, key) for at, (row, key) in enumerate(zip(rows, key_of, strict=True))
    ]
    mixed = [a_record(avro(1, rows[at]), at, key_of[at]) if at % 3 else one for at, one in enumerate(plain)]
    read = a_reader(registry).read(columns_of(mixed) if as_columns else mixed)
    assert states_after(plain, "plain") == states_after(read, engine)


def states_after(records: Any, engine: str) -> dict[bytes, bytes]:
    store, made = MemoryStore(), open_engine(engine)
    pipeline = made.pipeline(made.users(store, 3), SomeLiveRanker(MixingSessions()))
    assert pipeline.on_actions(records) == []
    pipeline.users.commit(pipeline.users.take_changes(len(records)))
    return dict(store.items())


@pytest.mark.parametrize(
    ("value", "reason", "told"),
    [
        (avro(1, ROW | {"action": "buy"}), "unknown-action", "buy"),
        (avro(1, ROW | {"timestamp_ms": 5}), "timestamp", "seconds"),
        (avro(1, ROW | {"user_id": "u2"}), "key-mismatch", "u2"),
        (avro(1, ROW | {"value": float("nan")}), "undecodable", "not finite"),
        (avro(2, ROW, NO_USER), "schema", "missing required field `user_id`"),
        (framed(1, b"\x09"), "undecodable", "does not decode"),
        (framed(4, b"{"), "not-json", "truncated"),
        (framed(5, b""), "unusable-schema", "schema 5: it is not JSON"),
        (framed(6, b"\x00"), "unusable-schema", "R holds itself"),
        (framed(7, b""), "unusable-schema", "'XSD'"),
        (framed(99, b""), "unknown-schema", "schema 99.*redrive"),
        (b"\0" + bytes(70_000), "too-large", "70,001 bytes"),
        (b"\0\0\0", "not-json", "schema_registry"),
    ],
)
def test_a_letter_says_what_is_wrong_and_holds_what_was_sent(registry, value, reason, told):
    (letter,) = letters_of(a_pipeline().on_actions(a_reader(registry).read([a_record(value)])))
    assert letter["reason"] == reason
    assert re.search(told, letter["message"])
    assert b64decode(letter["value_base64"]) == value[: 16 * 1024]


def test_a_schema_that_refers_to_too_many_others_is_there_and_of_no_use(registry, monkeypatch):
    """To register it again would not help, as the letter of an unknown one says."""
    monkeypatch.setattr("rankstream.streams.framed.registry.MAX_REFERENCES", 1)
    others = [registry.register_version(name, 1, NO_USER) for name in ("one", "two")]
    registry.register(20, NO_USER, references=others)
    (letter,) = letters_of(a_pipeline().on_actions(a_reader(registry).read([a_record(framed(20, b""))])))
    assert (letter["reason"], "refers to more than 1 others" in letter["message"]) == ("unusable-schema", True)


@pytest.mark.parametrize("engine", ENGINES)
def test_either_engine_letters_what_was_sent(registry, engine):
    made, misplaced, unreadable = open_engine(engine), avro(1, ROW), framed(1, b"\x09")
    wrong = next(check for number in range(2) if (check := PartitionCheck(number, 2))([b"u1"]))
    pipeline = made.pipeline(made.users(MemoryStore(), 3), SomeLiveRanker(), wrong_partition=wrong)
    records = a_reader(registry).read([a_record(misplaced), a_record(unreadable, 1)])
    letters = {one["reason"]: b64decode(one["value_base64"]) for one in letters_of(pipeline.on_actions(records))}
    assert letters == {"wrong-partition": misplaced, "undecodable": unreadable}


def test_an_erasure_is_an_action_without_an_item(registry):
    pipeline = a_pipeline()
    pipeline.on_actions([an_event("u1", 5, at=-9)])
    kinds = {"type": "enum", "name": "Kind", "symbols": ["forget"]}
    fields = [one | ({"type": kinds} if one["name"] == "action" else {}) for one in ACTION["fields"]]
    registry.register(9, ACTION | {"fields": fields})
    forget = avro(9, ROW | {"item_id": None, "action": "forget"}, ACTION | {"fields": fields})
    assert pipeline.on_actions(a_reader(registry).read([a_record(forget, 1)])) == []
    assert pipeline.counters.erasures == 1


def test_a_framed_request_is_answered_and_a_bad_one_has_its_error_feed(registry):
    rows = [
        {"request_id": "r1", "user_id": "u1", "limit": 3, "candidates": None},
        {"request_id": "r2", "user_id": "u1", "limit": None, "candidates": None},
    ]
    records = [a_record(avro(8, row, REQUEST), at, topic="ranking-requests") for at, row in enumerate(rows)]
    outgoing = a_pipeline().on_requests(a_reader(registry, topics.REQUESTS).read(records)).answer()
    feeds = [one for one in letters_of(outgoing) if "request_id" in one]
    assert sorted((feed["request_id"], "error" in feed) for feed in feeds) == [("r1", False), ("r2", True)]


def test_a_schema_is_fetched_once_and_the_oldest_are_forgotten(registry):
    reader, registry.asked[:] = a_reader(registry, cached=2), []
    for schema_id in (1, 1, 2, 1, 4, 1, 2):
        reader.read([a_record(framed(schema_id, b""))])
    assert registry.asked == [f"/schemas/ids/{one}" for one in (1, 2, 4, 2)]


def test_an_id_that_was_unknown_is_asked_for_again_later(registry):
    now_s = 0.0
    reader, registry.asked[:] = a_reader(registry, clock=lambda: now_s), []
    reader.read([a_record(framed(98, b""))])
    reader.read([a_record(framed(98, b""))])
    now_s = 2.5
    reader.read([a_record(framed(98, b""))])
    assert registry.asked == ["/schemas/ids/98"] * 2


def test_a_registry_that_is_away_letters_nothing(registry):
    registry.broken = 503
    with pytest.raises(RegistryAwayError, match="503"):
        a_reader(registry).read([a_record(avro(1, ROW))])
    registry.broken = None


def test_a_bug_in_a_decoder_is_a_letter_and_no_end():
    def decode(value: bytes) -> Any:
        raise ZeroDivisionError("the bug of the test")

    reader = SchemaReader(Registry(Settings(schema_registry="http://127.0.0.1:1")), topics.ACTIONS)
    (letter,) = letters_of(a_pipeline().on_actions(reader.unframed([a_record(framed(7, b""))], {7: decode})))
    assert letter["reason"] == "internal"
    assert "the bug of the test" in letter["message"]


def test_headers_stay_as_a_trace_goes_on_by_them(registry):
    sent = Headed("user-actions", 0, 0, MORNING_MS, b"u1", avro(1, ROW), [("traceparent", b"00-1")])
    (read,) = a_reader(registry).read([sent])
    assert getattr(read, "headers", None) == sent.headers


def test_columns_are_looked_at_where_they_lie():
    values = [None, b"{}", framed(7, b"x"), b"\0\0\0\0", framed(8, b""), b""]
    records = [a_record(value, at) for at, value in enumerate(values)]
    assert schema_ids_of(columns_of(records)) == schema_ids_of(records) == {7, 8}


def test_numbers_that_json_has_not_are_found_in_lists_too():
    assert json_of({"a": [1.5], "b": {"c": 2}}) == b'{"a":[1.5],"b":{"c":2}}'
    with pytest.raises(Exception, match="not finite"):
        json_of({"filters": {"price_min": float("inf")}})


def test_without_a_registry_nothing_is_read_by_one(monkeypatch):
    assert open_reader(Settings(), topics.ACTIONS) is None
    monkeypatch.setattr("rankstream.streams.framed.reader.LIBRARIES", {"AVRO": "no_such_library"})
    with pytest.raises(SettingsError, match=r"rankstream\[avro\]"):
        open_reader(Settings(value_format="avro", schema_registry="http://registry:8081"), topics.ACTIONS)
