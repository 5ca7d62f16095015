"""The formats for machines: what they call valid is what workers take, and all that they name is there."""

import msgspec
import pytest
from jsonschema import Draft202012Validator

from docs.generate import examples
from rankstream.events.action_event import MAX_TIME_MS, MIN_TIME_MS
from rankstream.streams.schemas import OF_TOPICS, asyncapi, schema_of
from rankstream.streams.topics import ACTIONS, ALL_TOPICS, CHANGELOG, IMPRESSIONS, REQUESTS

OF_PAGE = examples()
NOW_S = 1_700_000_000


def is_valid(topic, value):
    return Draft202012Validator(schema_of(topic)).is_valid(value)


@pytest.mark.parametrize("topic", OF_TOPICS, ids=lambda topic: topic.name)
def test_a_topic_has_a_sound_schema_and_an_example_of_it(topic):
    Draft202012Validator.check_schema(schema_of(topic))
    assert OF_PAGE[topic.name]
    for example in OF_PAGE[topic.name]:
        assert list(Draft202012Validator(schema_of(topic)).iter_errors(example)) == []


@pytest.mark.parametrize("topic", [ACTIONS, REQUESTS, IMPRESSIONS], ids=lambda topic: topic.name)
def test_a_time_in_seconds_is_invalid_by_schema_too(topic):
    example = OF_PAGE[topic.name][0]
    assert is_valid(topic, example | {"timestamp_ms": MIN_TIME_MS})
    assert not is_valid(topic, example | {"timestamp_ms": NOW_S})
    assert not is_valid(topic, example | {"timestamp_ms": MAX_TIME_MS + 1})


@pytest.mark.parametrize(
    "wrong",
    [{"user_id": ""}, {"item_id": "i" * 257}, {"action": None}, {"value": -1}, {"surface": ""}, {"user_id": 1.5}],
)
def test_what_workers_refuse_is_invalid(wrong):
    action = OF_PAGE[ACTIONS.name][0] | wrong
    assert not is_valid(ACTIONS, action)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(action), type=OF_TOPICS[ACTIONS])


def test_an_erasure_has_a_time_and_no_item_by_schema_too():
    erasure = OF_PAGE[ACTIONS.name][1]
    assert erasure["action"] == "forget"
    assert is_valid(ACTIONS, erasure | {"item_id": None})
    for wrong in ({"item_id": ""}, {"timestamp_ms": NOW_S}, {"action": "erase"}, {"user_id": None}):
        assert not is_valid(ACTIONS, erasure | wrong)


def references(part):
    """Every reference within a document."""
    if isinstance(part, dict):
        yield from [part["$ref"]] if "$ref" in part else []
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            yield from references(one)


def test_the_document_names_every_topic_that_holds_json_and_nothing_that_is_not_there():
    document = asyncapi()
    assert set(document["channels"]) == {topic.name for topic in ALL_TOPICS if topic != CHANGELOG}
    found = set(references(document))
    assert found
    for reference in found:
        at = document
        for step in reference.removeprefix("#/").split("/"):
            at = at[step]
    assert document["operations"]["receiveUserActions"]["action"] == "receive"
    assert document["operations"]["sendRankedFeeds"]["action"] == "send"
