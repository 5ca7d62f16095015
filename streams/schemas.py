"""The formats of the topics for machines: JSON Schema of each, and all of them as one AsyncAPI 3.0 document.

Both are made from the structs that decode the topics, so they say what workers accept, with its limits.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rankstream import __version__
from rankstream.content.items import Item
from rankstream.events.action_event import ActionEvent, ErasureEvent
from rankstream.events.impression_event import ImpressionEvent
from rankstream.ranking.request import RankingRequest
from rankstream.streams.codec import DeadLetter, RankedFeed, ServedFeatures
from rankstream.streams.topics import ACTIONS, DEAD_LETTERS, FEEDS, IMPRESSIONS, ITEM_UPDATES, REQUESTS, SERVED, Topic

OF_TOPICS: Mapping[Topic, type] = {
    ACTIONS: ActionEvent,
    REQUESTS: RankingRequest,
    FEEDS: RankedFeed,
    DEAD_LETTERS: DeadLetter,
    SERVED: ServedFeatures,
    IMPRESSIONS: ImpressionEvent,
    ITEM_UPDATES: Item,
}
ALSO: Mapping[Topic, type] = {ACTIONS: ErasureEvent}  # what else a value may be
COMPONENTS = "#/components/schemas/{name}"
BINDING = "0.5.0"  # of Kafka's bindings: github.com/asyncapi/bindings
TEXT = {"type": "string"}
PREFIX = {"description": "topic_prefix of the settings, before the name of every topic", "default": ""}


def schema_of(topic: Topic) -> dict[str, Any]:
    """Return the JSON Schema of a topic's values. Raises ``KeyError`` for the changelog, which holds no JSON."""
    tops, components = msgspec.json.schema_components(kinds_of(topic), ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:rankstream:{topic.name}",
        "title": topic.name,
        **_any_of(tops),
        "$defs": components,
    }


def kinds_of(topic: Topic) -> list[type]:
    """Return the structs that a topic's values may be."""
    return [OF_TOPICS[topic], *([ALSO[topic]] if topic in ALSO else [])]


def _any_of(schemas: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}


def asyncapi() -> dict[str, Any]:
    """Return the document: workers receive what others write, and send the rest."""
    kinds = [*OF_TOPICS.values(), *ALSO.values()]
    tops, components = msgspec.json.schema_components(kinds, ref_template=COMPONENTS)
    schema_of_kind = dict(zip(kinds, tops, strict=True))
    payloads = {topic: _any_of([schema_of_kind[kind] for kind in kinds_of(topic)]) for topic in OF_TOPICS}
    return {
        "asyncapi": "3.0.0",
        "id": "urn:rankstream",
        "info": {
            "title": "rankstream",
            "version": __version__,
            "description": "Actions and requests of users in, ranked feeds out, over Kafka. All topics have the same "
            "number of partitions; records lie at murmur2 of their key, as Kafka's own clients place them.",
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in OF_TOPICS},
        "operations": {_operation_id(topic): _operation(topic) for topic in OF_TOPICS},
        "components": {
            "messages": {topic.name: _message(topic, payloads[topic]) for topic in OF_TOPICS},
            "schemas": components,
        },
    }


def _channel(topic: Topic) -> dict[str, Any]:
    kept = {"cleanup.policy": [topic.config["cleanup.policy"]]}
    limits = {name: int(topic.config[name]) for name in ("retention.ms", "max.message.bytes") if name in topic.config}
    return {
        "address": "{prefix}" + topic.name,
        "parameters": {"prefix": PREFIX},
        "description": topic.value,
        "messages": {topic.name: {"$ref": f"#/components/messages/{topic.name}"}},
        "bindings": {"kafka": {"topicConfiguration": kept | limits, "bindingVersion": BINDING}},
    }


def _operation_id(topic: Topic) -> str:
    words = topic.name.split("-")
    return ("send" if topic.written_by_workers else "receive") + "".join(word.capitalize() for word in words)


def _operation(topic: Topic) -> dict[str, Any]:
    return {
        "action": "send" if topic.written_by_workers else "receive",
        "channel": {"$ref": f"#/channels/{topic.name}"},
        "summary": topic.value,
        "messages": [{"$ref": f"#/channels/{topic.name}/messages/{topic.name}"}],
    }


def _message(topic: Topic, payload: dict[str, Any]) -> dict[str, Any]:
    key = TEXT | {"description": topic.key}
    return {"payload": payload, "bindings": {"kafka": {"key": key, "bindingVersion": BINDING}}}
