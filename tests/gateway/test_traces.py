"""Calls as spans, with the pipeline in the process: a call, and the request that it leads to."""

import asyncio

import pytest
from aiohttp.test_utils import make_mocked_request

from rankstream.features.stores.memory import MemoryStore
from rankstream.gateway.app import Gateway
from rankstream.gateway.client import GatewayClient
from rankstream.gateway.settings import GatewaySettings
from rankstream.gateway.worker_road import WorkerRoad
from rankstream.ranking.request import RankingRequest
from tests.builders.actions import SomeLiveRanker
from tests.builders.gateway import RunningGateway, a_click
from tests.builders.traces import CALLER, TRACE, TRACEPARENT, KeptSpans, children

RANK = {"request_id": "r1", "user_id": "u1", "limit": 1}


@pytest.fixture(scope="module")
def running():
    traces = KeptSpans(group=None)
    road = WorkerRoad(SomeLiveRanker(), MemoryStore(), traces=traces)
    with RunningGateway(gateway=Gateway(road, GatewaySettings(port=0), traces=traces)) as made:
        yield made


@pytest.fixture
def kept(running):
    running.gateway.traces.forget()
    return running.gateway.traces


def test_a_call_is_a_span_of_its_clients_trace_and_the_ranking_is_below_it(running, kept):
    assert running.call("POST", "/rank", RANK, traceparent=TRACEPARENT).status == 200
    call, rank = kept.named("POST /rank"), kept.named("rankstream.rank")
    assert (call.trace, call.parent, call.kind, call.error) == (TRACE, CALLER, 2, None)
    assert (rank.trace, rank.parent, rank.kind) == (TRACE, call.id, 1)  # no record of Kafka's, so no consumer
    assert children(kept.all, rank) == ["decode", "state", "wait"]
    about = call.attributes
    assert (about["http.route"], about["http.response.status_code"]) == ("/rank", 200)
    assert about["rankstream.request_id"] == rank.attributes["rankstream.request_id"] == "r1"
    assert not [name for name in rank.attributes if name.startswith("messaging.")]


def test_the_client_sends_the_headers_that_it_is_given(running, kept):
    with GatewayClient(running.address) as client:
        client.rank(RankingRequest("r2", "u1", limit=1), {"traceparent": TRACEPARENT})
        client.rank(RankingRequest("r3", "u1", limit=1))  # on the same connection
    first, second = (one for one in kept.all if one.name == "POST /rank")
    assert (first.parent, second.parent) == (CALLER, "")
    assert first.trace != second.trace


def test_actions_are_traced_and_looks_at_the_gateway_are_not(running, kept):
    running.call("POST", "/actions", a_click(), traceparent=TRACEPARENT)
    for path in ("/live", "/ready", "/openapi.json", "/nowhere"):
        running.call("GET", path, traceparent=TRACEPARENT)
    assert [(one.name, one.parent) for one in kept.all] == [("POST /actions", CALLER)]


def test_what_the_client_did_wrong_is_no_error_of_the_server(running, kept, monkeypatch):
    running.call("POST", "/rank", "{", traceparent="nonsense")
    assert (kept.named("POST /rank").error, kept.named("POST /rank").parent) == (None, "")
    monkeypatch.setattr(running.gateway, "clock", lambda: 1 // 0)
    running.call("POST", "/actions", a_click())
    assert kept.named("POST /actions").error == "500"


def test_a_client_that_hangs_up_ends_its_span(kept, running):
    async def story():
        async def hang(request):
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await running.gateway.trace(make_mocked_request("POST", "/rank"), hang)

    asyncio.run(story())
    (call,) = kept.all
    assert call.error == "cancelled"
