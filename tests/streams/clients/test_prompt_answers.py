"""One of several brokers stands still: what others can be asked is not waited for as long as a request may take."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import NodeNotReadyError, RequestTimedOutError
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.metadata import MetadataResponse_v0

from rankstream.streams.broker import EmbeddedBroker
from rankstream.streams.clients.prompt_answers import expect_prompt_answers
from tests.kafka.harness import wait_until

pytestmark = pytest.mark.broker

HANGS = 7  # the number of the broker that stands still
AN_HOUR_MS = 3_600_000  # no test ends where a request is waited for so long


@pytest.fixture
def still(broker) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as one:
        yield one
        assert one.process is not None
        one.process.send_signal(signal.SIGCONT)


def told_of_both(client: AIOKafkaClient, still: EmbeddedBroker) -> None:
    """Have every answer about the cluster name the other broker, too."""
    read = client.cluster.update_metadata

    def read_with_another(answer: MetadataResponse_v0) -> None:
        read(answer)
        named = {broker.nodeId: broker for broker in client.cluster.brokers()}
        one = next(iter(named.values()))
        client.cluster._brokers = {**named, HANGS: one._replace(nodeId=HANGS, host="127.0.0.1", port=still.port)}

    client.cluster.update_metadata = read_with_another


def stop(still: EmbeddedBroker) -> None:
    assert still.process is not None
    stat = Path(f"/proc/{still.process.pid}/stat")
    still.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "it stands still")


def asked(broker, still: EmbeddedBroker, ask: Callable[[AIOKafkaClient], Awaitable[object]]) -> object:
    """Ask something by a client that has many hours of time."""

    async def story() -> object:
        client = AIOKafkaClient(bootstrap_servers=broker.bootstrap_servers, request_timeout_ms=AN_HOUR_MS)
        expect_prompt_answers(client, answer_s=0.5)
        told_of_both(client, still)
        await client.bootstrap()
        try:
            return await ask(client)
        finally:
            await client.close()

    return asyncio.run(story())


def test_a_heartbeat_to_a_coordinator_that_stands_still_is_given_up(broker, still):
    async def heartbeat(client: AIOKafkaClient) -> object:
        assert await client.ready(HANGS)
        stop(still)
        with pytest.raises(RequestTimedOutError):
            await client.send(HANGS, HeartbeatRequest("g", 1, "member"))
        return True

    assert asked(broker, still, heartbeat)


def test_no_connection_is_no_reason_to_wait(broker, still):
    stop(still)

    async def heartbeat(client: AIOKafkaClient) -> object:
        with pytest.raises(NodeNotReadyError):
            await client.send(HANGS, HeartbeatRequest("g", 1, "member"))
        return await client.ready(next(one.nodeId for one in client.cluster.brokers() if one.nodeId != HANGS))

    assert asked(broker, still, heartbeat)


def test_whoever_answers_tells_of_leaders_and_coordinators(broker, still):
    async def look(client: AIOKafkaClient) -> object:
        assert await client.ready(HANGS)
        stop(still)
        for _ in range(8):  # which broker is asked first is chosen at random
            assert await client.force_metadata_update()
        client.get_random_node = lambda: HANGS
        with pytest.raises(RequestTimedOutError):
            await client.coordinator_lookup(CoordinationType.GROUP, "g")
        return True

    assert asked(broker, still, look)


def test_the_first_one_that_is_named_may_stand_still(broker, still):
    """A client asks one after the other, and waited for each as long as for any answer."""
    stop(still)

    async def reach() -> None:
        named = f"{still.bootstrap_servers},{broker.bootstrap_servers}"
        client = AIOKafkaClient(bootstrap_servers=named, request_timeout_ms=AN_HOUR_MS)
        expect_prompt_answers(client, answer_s=0.5)
        await client.bootstrap()
        assert client._request_timeout_ms == AN_HOUR_MS
        await client.close()

    for _ in range(6):  # which is the first is chance
        asyncio.run(reach())


def test_with_a_single_broker_there_is_nobody_else_to_ask(still):
    async def story() -> bool:
        client = AIOKafkaClient(bootstrap_servers=still.bootstrap_servers, request_timeout_ms=AN_HOUR_MS)
        expect_prompt_answers(client, answer_s=0.1)
        await client.bootstrap()
        (only,) = (one.nodeId for one in client.cluster.brokers())
        assert await client.ready(only)
        stop(still)
        asking = asyncio.create_task(client.send(only, HeartbeatRequest("g", 1, "member")))
        done, _ = await asyncio.wait({asking}, timeout=0.5)
        assert still.process is not None
        still.process.send_signal(signal.SIGCONT)
        await asking
        await client.close()
        return not done

    assert asyncio.run(story())
