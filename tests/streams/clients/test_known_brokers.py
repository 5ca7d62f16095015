"""A client that the brokers told of none, as one does that has just started, on a broker."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import NodeNotReadyError

from rankstream.streams.clients.known_brokers import ask_for_brokers_again

pytestmark = pytest.mark.broker


def looking_up(servers: str, prepare: Callable[[AIOKafkaClient], None]) -> list[object]:
    """Look for the coordinator of a group twice by a client that was told of no broker."""

    async def twice() -> list[object]:
        client = AIOKafkaClient(bootstrap_servers=servers)
        prepare(client)
        read, client.cluster.update_metadata = client.cluster.update_metadata, lambda answer: None
        await client.bootstrap()
        client.cluster.update_metadata = read
        try:
            return [await found(client.coordinator_lookup(CoordinationType.GROUP, "g")) for _ in range(2)]
        finally:
            await client.close()

    return asyncio.run(twice())


async def found(look_up: Awaitable[int]) -> object:
    try:
        return await look_up
    except (AssertionError, NodeNotReadyError) as exc:
        return type(exc)


def test_who_was_told_of_no_broker_asks_again(broker):
    told = looking_up(broker.bootstrap_servers, ask_for_brokers_again)
    assert told[0] is NodeNotReadyError
    assert isinstance(told[1], int)


def test_aiokafka_alone_would_end_the_program(broker):
    assert looking_up(broker.bootstrap_servers, lambda client: None)[0] is AssertionError
