"""The clients, sync and async: the same calls, the same answers, the same errors."""

import asyncio
import threading
import time

import pytest

from rankstream.events.action_event import ActionEvent
from rankstream.events.impression_event import ImpressionEvent
from rankstream.gateway.async_client import AsyncGatewayClient
from rankstream.gateway.client import GatewayClient, GatewayError
from rankstream.gateway.intake import AskedRequest
from rankstream.ranking.request import RankingRequest
from tests.builders.gateway import RunningGateway

TOKEN = "0123456789abcdef"
NOW_MS = int(time.time() * 1000)


class AsSync:
    """The async client called as the other one is, so that one set of tests holds both."""

    def __init__(self, *args, **options):
        self._args = args, options

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass

    def __getattr__(self, name):
        async def call(*args):
            async with AsyncGatewayClient(*self._args[0], **self._args[1]) as client:
                if name != "feeds":
                    return await getattr(client, name)(*args)
                async for feed in client.feeds(*args):
                    return [feed]
                return []

        return lambda *args: asyncio.run(call(*args))


@pytest.fixture(scope="module")
def gateway():
    with RunningGateway(token=TOKEN) as running:
        yield running


@pytest.fixture(params=[GatewayClient, AsSync], ids=["sync", "async"])
def client(request, gateway):
    with request.param(gateway.address, TOKEN) as made:
        yield made


def test_actions_are_taken_and_seen(client):
    user = f"user of {type(client).__name__}"
    click = ActionEvent(user, "a", "click", NOW_MS)
    assert client.send_actions(click).accepted == 1
    taken = client.send_actions([ActionEvent(user, "b", "view", NOW_MS), ActionEvent(user, "b", "dance", NOW_MS)])
    assert (taken.accepted, [one.index for one in taken.rejected]) == (1, [1])
    feed = client.rank(RankingRequest("r1", user, limit=3))
    assert (feed.request_id, feed.actions_used) == ("r1", 2)


def test_a_user_is_erased_and_an_action_after_that_is_seen(client):
    user = f"erased of {type(client).__name__}"
    client.send_actions([ActionEvent(user, item, "click", NOW_MS) for item in "abc"])
    assert client.forget(user).accepted == 1
    assert client.rank(RankingRequest("r1", user, limit=3)).actions_used == 0
    later_ms = int(time.time() * 1000) + 1000
    client.send_actions([ActionEvent(user, "a", "click", NOW_MS), ActionEvent(user, "d", "click", later_ms)])
    assert client.rank(RankingRequest("r2", user, limit=3, timestamp_ms=later_ms)).actions_used == 1


def test_what_is_still_to_come_is_not_forgotten(client):
    with pytest.raises(GatewayError, match="what is still to come can't be forgotten"):
        client.forget("u1", int(time.time() * 1000) + 60_000)
    assert client.forget("u1", NOW_MS - 1).accepted == 1


def test_what_is_refused_is_raised_with_its_reason(client):
    with pytest.raises(GatewayError, match="candidates or limit") as refused:
        client.rank(AskedRequest(user_id=7))
    assert (refused.value.status, refused.value.reason) == (400, "schema")
    with pytest.raises(GatewayError, match="no-topic"):
        client.send_impressions(ImpressionEvent("l", 7, (1,), NOW_MS))


@pytest.mark.parametrize("kind", [GatewayClient, AsSync])
def test_a_wrong_token_and_no_gateway_are_told_apart(kind, gateway):
    with kind(gateway.address, "wrong") as stranger, pytest.raises(GatewayError, match="token"):
        stranger.rank(AskedRequest(user_id=7, limit=1))
    with kind("http://127.0.0.1:1") as lost, pytest.raises(GatewayError, match="no answer from http"):
        lost.rank(AskedRequest(user_id=7, limit=1))
    with kind("http://127.0.0.1:1") as lost:
        assert not lost.is_ready()


def test_feeds_are_followed(client, gateway):
    user = "a user/with ü"
    while gateway.gateway.board._followers:  # of the test before: its hanging up takes a moment to be noticed
        time.sleep(0.01)

    def ask():
        while not gateway.gateway.board._followers:
            time.sleep(0.01)
        with GatewayClient(gateway.address, TOKEN) as other:
            other.rank(RankingRequest("followed", user, limit=1))

    asking = threading.Thread(target=ask)
    asking.start()
    assert next(iter(client.feeds(user))).request_id == "followed"
    asking.join()


def test_a_gateway_that_began_anew_is_found_again():
    with RunningGateway() as first:
        client = GatewayClient(first.address)
        assert client.is_ready()
        port = first.port
    with RunningGateway(port=port):
        assert client.is_ready()
    client.close()


def test_who_is_told_to_come_again_knows_when():
    with RunningGateway(rate_limit=1) as running, GatewayClient(running.address) as client:
        client.send_actions(ActionEvent(7, 1, "view", NOW_MS))
        with pytest.raises(GatewayError) as refused:
            client.send_actions(ActionEvent(7, 1, "view", NOW_MS))
    assert (refused.value.status, refused.value.retry_after_s) == (429, 1.0)
