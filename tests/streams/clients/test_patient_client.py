"""A client that the brokers told of none, as one does that has just started, on a broker."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError

from rankstream.streams.broker import EmbeddedBroker, free_port
from rankstream.streams.clients.patient_client import make_patient

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
    told = looking_up(broker.bootstrap_servers, make_patient)
    assert told[0] is NodeNotReadyError
    assert isinstance(told[1], int)


def test_aiokafka_alone_would_end_the_program(broker):
    assert looking_up(broker.bootstrap_servers, lambda client: None)[0] is AssertionError


def test_a_broker_that_comes_a_moment_later_is_waited_for(monkeypatch):
    monkeypatch.setattr("rankstream.streams.clients.patient_client.PAUSE_S", 0.05)
    port = free_port()

    async def reached() -> set[object]:
        client = AIOKafkaClient(bootstrap_servers=f"127.0.0.1:{port}")
        make_patient(client)
        reaching = asyncio.create_task(client.bootstrap())
        await asyncio.sleep(0.5)
        assert not reaching.done()
        with EmbeddedBroker(port):
            await reaching
            await client.close()
        return client.cluster.brokers()

    assert asyncio.run(reached())


def test_a_broker_that_never_comes_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr("rankstream.streams.clients.patient_client.PAUSE_S", 0.05)

    async def unreachable() -> None:
        client = AIOKafkaClient(bootstrap_servers=f"127.0.0.1:{free_port()}")
        make_patient(client, seconds=0.3)
        await client.bootstrap()

    with pytest.raises(KafkaConnectionError, match="Unable to bootstrap"):
        asyncio.run(unreachable())


def test_a_broker_that_hangs_up_while_it_is_asked_for_a_coordinator_is_no_end(broker):
    async def refused_by_the_first() -> object:
        client = AIOKafkaClient(bootstrap_servers=broker.bootstrap_servers)
        make_patient(client)
        await client.bootstrap()
        send, client.send = client.send, hanging_up
        first = await found(client.coordinator_lookup(CoordinationType.TRANSACTION, "t"))
        client.send = send
        await client.coordinator_lookup(CoordinationType.GROUP, "g")
        await client.close()
        return first

    assert asyncio.run(refused_by_the_first()) is NodeNotReadyError


async def hanging_up(node_id: int, request: object, **options: object) -> None:
    raise KafkaConnectionError(f"Connection at node {node_id} closed")
