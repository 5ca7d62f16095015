"""What brokers do with a partition's transactional producer once another was opened."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from faust.types import TP

from rankstream.streams.topics import ACTIONS, CHANGELOG
from rankstream.streams.worker import fence as fence_module
from rankstream.streams.worker.fence import Fence, FencedError, FenceRefusedError, brokers_fence
from rankstream.streams.worker.limits import Limits
from tests.kafka.harness import Bench

pytestmark = [pytest.mark.broker]


def test_brokers_are_asked_whether_they_refuse_an_older_producer(bench, broker):
    assert asyncio.run(brokers_fence(bench.settings)) is broker.is_kafka


@pytest.fixture
def fenced(bench: Bench, broker) -> Bench:
    if not broker.is_kafka:
        pytest.skip("the embedded broker knows no transactions")
    bench.create_topics()
    return bench


def test_brokers_that_allow_no_transaction_as_long_are_refused_in_a_sentence(fenced, monkeypatch):
    monkeypatch.setattr(fence_module, "TRANSACTION_TIMEOUT_MS", 1 << 30)
    with pytest.raises(FenceRefusedError, match=r"InvalidTransactionTimeout.* transaction.max.timeout.ms of at least"):
        asyncio.run(brokers_fence(fenced.settings))


def with_two_fences(bench: Bench, story: Callable[[Fence, Fence], Awaitable[None]]) -> None:
    """Open the fence of partition 0, then hand it to the story with another that is not open yet."""

    async def go() -> None:
        limits = Limits(bench.settings)
        one, two = Fence(bench.settings, limits, 0), Fence(bench.settings, limits, 0)
        await one.open()
        try:
            await story(one, two)
        finally:
            await one.close(flush=False)
            await two.close(flush=False)

    asyncio.run(go())


def logged(bench: Bench) -> list[bytes]:
    return [record.value for record in bench.read(CHANGELOG)]


async def send(bench: Bench, fence: Fence, value: bytes, offset: int) -> None:
    async with fence.transaction({TP(bench.names.of(ACTIONS), 0): offset}) as producer:
        await producer.send_and_wait(bench.names.of(CHANGELOG), value, b"u1", partition=0)


async def begin(bench: Bench, fence: Fence, then: Callable[[], Awaitable[None]]) -> None:
    async with fence.transaction({}) as producer:
        await producer.send_and_wait(bench.names.of(CHANGELOG), b"begun", b"u1", partition=0)
        await then()


def test_once_another_is_open_neither_records_nor_offsets_of_the_first_count(fenced):
    async def story(one: Fence, two: Fence) -> None:
        await send(fenced, one, b"first", 5)
        assert not await one.is_refused()
        await two.open()
        assert await one.is_refused()
        with pytest.raises(FencedError, match="partition 0 belongs to another worker now"):
            await send(fenced, one, b"late", 9)
        await send(fenced, two, b"second", 7)

    with_two_fences(fenced, story)
    assert logged(fenced) == [b"first", b"second"]
    assert fenced.committed(ACTIONS) == 7


def test_opening_aborts_what_the_first_had_begun(fenced):
    async def story(one: Fence, two: Fence) -> None:
        with pytest.raises(FencedError):
            await begin(fenced, one, then=two.open)
        await send(fenced, two, b"second", 7)

    with_two_fences(fenced, story)
    assert logged(fenced) == [b"second"]


def test_a_failure_inside_leaves_nothing_behind(fenced):
    async def fail() -> None:
        raise ZeroDivisionError

    async def story(one: Fence, two: Fence) -> None:
        with pytest.raises(ZeroDivisionError):
            await begin(fenced, one, then=fail)
        await two.open()

    with_two_fences(fenced, story)
    assert logged(fenced) == []


def test_a_batch_that_is_refused_for_its_size_does_not_stop_those_behind_it(fenced):
    """An idempotent producer numbers its records: a hole in the numbers would have all others refused."""

    async def story(one: Fence, two: Fence) -> None:
        topic = fenced.names.of(CHANGELOG)
        async with one.transaction({}) as producer:
            refused = producer.create_batch()
            refused.append(key=b"u1", value=b"x" * (1 << 21), timestamp=None)
            refused.close()
            with pytest.raises(fence_module.KafkaError):
                await (await producer.send_batch(refused, topic, partition=0))
            await producer.send_and_wait(topic, b"behind it", b"u1", partition=0)

    with_two_fences(fenced, story)
    assert logged(fenced) == [b"behind it"]
