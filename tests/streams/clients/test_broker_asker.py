"""Whether a broker answers: asked where nothing else waits."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rankstream.streams.clients import broker_asker
from rankstream.streams.clients.broker_asker import BrokerAsker
from rankstream.streams.settings import Settings

pytestmark = pytest.mark.broker


@contextmanager
def one_that_stands_still() -> Iterator[str]:
    """An address that takes connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def answers(settings: Settings, broken: str = "") -> list[bool]:
    """Return what three looks find; all but one of the brokers are at an address that stands still."""

    async def looks() -> list[bool]:
        asker = BrokerAsker(settings, "user-actions")
        await asker.start()
        if broken:
            host, port = broken.split(":")
            one = next(iter(asker.client.cluster.brokers()))
            still = [one._replace(nodeId=one.nodeId + 1 + n, host=host, port=int(port)) for n in range(2)]
            asker.client.cluster._brokers |= {each.nodeId: each for each in still}
        found = [await asker.is_answered() for _ in range(3)]
        await asker.close()
        return found

    return asyncio.run(looks())


def test_a_broker_answers(bootstrap_servers):
    assert answers(Settings(bootstrap_servers=bootstrap_servers)) == [True] * 3


def test_where_several_are_named_one_that_stands_still_is_no_outage(bootstrap_servers, monkeypatch):
    monkeypatch.setattr(broker_asker, "NEXT_ONE_MS", 100)
    with one_that_stands_still() as other:
        assert answers(Settings(bootstrap_servers=f"{bootstrap_servers},{other}"), broken=other) == [True] * 3
