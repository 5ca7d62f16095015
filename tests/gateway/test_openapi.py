"""The description is of the routes that are served, and of the structs that are read."""

import re

import msgspec
import pytest

from rankstream.events.action_event import ActionEvent
from rankstream.events.impression_event import ImpressionEvent
from rankstream.features.stores.memory import MemoryStore
from rankstream.gateway.app import Gateway
from rankstream.gateway.openapi import openapi
from rankstream.gateway.settings import GatewaySettings
from rankstream.gateway.worker_road import WorkerRoad
from rankstream.ranking.request import RankingRequest
from rankstream.streams.codec import RankedFeed
from tests.builders.actions import SomeLiveRanker

SCHEMAS = openapi()["components"]["schemas"]


def test_each_route_that_is_served_is_described_and_no_other():
    app = Gateway(WorkerRoad(SomeLiveRanker(), MemoryStore()), GatewaySettings()).app()
    served = {(route.method, route.resource.canonical) for route in app.router.routes() if route.method != "HEAD"}
    described = {(method.upper(), path) for path, item in openapi()["paths"].items() for method in item}
    assert described == served


@pytest.mark.parametrize("kind", [ActionEvent, RankedFeed, ImpressionEvent])
def test_schemas_are_those_of_the_topics(kind):
    _, components = msgspec.json.schema_components([kind], ref_template="#/components/schemas/{name}")
    assert {name: SCHEMAS[name] for name in components} == components


def test_a_request_is_that_of_the_topic_but_for_its_id():
    _, components = msgspec.json.schema_components([RankingRequest], ref_template="#/components/schemas/{name}")
    of_topic, asked = components["RankingRequest"], SCHEMAS["AskedRequest"]
    assert set(of_topic["required"]) - set(asked["required"]) == {"request_id"}
    without_id = lambda schema: {k: v for k, v in schema["properties"].items() if k != "request_id"}  # noqa: E731
    assert without_id(asked) == without_id(of_topic)


def test_references_lead_somewhere():
    named = set(re.findall(r'"#/components/schemas/(\w+)"', msgspec.json.encode(openapi()).decode()))
    assert named == set(SCHEMAS)


def test_each_answer_has_a_description_and_a_form():
    for item in openapi()["paths"].values():
        for operation in item.values():
            assert all(one["description"] and one["content"] for one in operation["responses"].values())
