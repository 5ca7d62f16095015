"""The schemas of Avro that are published: what the pages show goes through them and comes out the same."""

import json

import pytest

from docs.generate import examples
from rankstream.events.action_event import Recorded
from rankstream.streams.avro_schemas import avro_schema_of
from rankstream.streams.framed.reader import SchemaReader
from rankstream.streams.framed.registry import Registry
from rankstream.streams.schemas import OF_TOPICS, kinds_of
from rankstream.streams.topics import ACTIONS, REQUESTS
from tests.builders.actions import MORNING_MS
from tests.builders.registry import a_registry, avro, of_registry

pytest.importorskip("fastavro", reason="fastavro is not installed: pip install 'rankstream[avro]'")
WRITTEN_BY_OTHERS = [topic for topic in OF_TOPICS if not topic.written_by_workers]


@pytest.mark.parametrize("topic", WRITTEN_BY_OTHERS, ids=lambda topic: topic.name)
def test_the_pages_examples_come_out_as_they_went_in(topic):
    schema, values = avro_schema_of(topic), examples()[topic.name]
    with a_registry() as registry:
        registry.register(1, schema)
        records = [Recorded(topic.name, 0, at, MORNING_MS, b"", avro(1, one, schema)) for at, one in enumerate(values)]
        read = SchemaReader(Registry(of_registry(registry)), topic).read(records)
    defaults = {one["name"]: one["default"] for one in schema["fields"] if one.get("default") is not None}
    assert values
    assert [json.loads(one.value or b"") for one in read] == [defaults | one for one in values]


@pytest.mark.parametrize("topic", WRITTEN_BY_OTHERS, ids=lambda topic: topic.name)
def test_a_schema_has_every_field_of_the_struct_and_no_other(topic):
    assert [one["name"] for one in avro_schema_of(topic)["fields"]] == list(kinds_of(topic)[0].__struct_fields__)


def test_times_say_so_and_ids_may_be_texts_or_numbers():
    fields = {one["name"]: one for one in avro_schema_of(ACTIONS)["fields"]}
    assert fields["timestamp_ms"]["type"] == {"type": "long", "logicalType": "timestamp-millis"}
    assert fields["user_id"]["type"] == ["string", "long"]
    assert fields["item_id"]["type"] == ["null", "string", "long"]  # an erasure has none
    candidates = next(one for one in avro_schema_of(REQUESTS)["fields"] if one["name"] == "candidates")
    assert candidates["type"] == ["null", {"type": "array", "items": ["string", "long"]}]
