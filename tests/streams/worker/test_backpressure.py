import asyncio
from dataclasses import dataclass, field

from faust.types import TP

from rankstream.streams.worker.backpressure import Gate, Pressure
from rankstream.streams.worker.chunks import Chunk, Fetched
from tests.builders.actions import a_request
from tests.builders.patience import PATIENCE_S

TPS = [TP("ranking-requests", 0), TP("ranking-requests", 1)]


@dataclass
class AConsumer:
    paused: set[TP] = field(default_factory=set)

    def on_buffer_full(self, tp: TP) -> None:
        self.paused.add(tp)

    def on_buffer_drop(self, tp: TP) -> None:
        self.paused.remove(tp)


def a_chunk(size: int) -> Chunk:
    return Chunk(TPS[0], Fetched(0, [a_request(offset=n) for n in range(size)], size), start=None, epoch=0)


def a_pressure(consumer: AConsumer) -> Pressure:
    return Pressure(10, lambda: consumer, lambda: TPS)


def test_reading_of_requests_stops_when_too_many_wait_and_resumes_when_half_are_answered():
    async def story():
        consumer = AConsumer()
        pressure = a_pressure(consumer)
        await pressure.admit(a_chunk(10))
        assert consumer.paused == set()
        await pressure.admit(a_chunk(4))
        assert consumer.paused == set(TPS)
        pressure.answered(a_chunk(4))
        assert consumer.paused == set(TPS)
        pressure.answered(a_chunk(5))
        assert consumer.paused == set()

    asyncio.run(story())


def test_a_rebalance_forgets_what_waited():
    async def story():
        consumer = AConsumer()
        pressure = a_pressure(consumer)
        await pressure.admit(a_chunk(40))
        pressure.reset()
        pressure.answered(a_chunk(40))
        assert (consumer.paused, pressure.waiting) == (set(), 0)

    asyncio.run(story())


def test_the_gate_admits_a_chunk_once_the_agent_took_one():
    async def story():
        gate, queue = Gate(2), [1, 2]
        gate.waiting = lambda: len(queue)
        entering = asyncio.create_task(gate.admit(a_chunk(1)))
        await asyncio.sleep(0.01)
        assert not entering.done()
        queue.pop()
        gate.chunk_taken()
        await asyncio.wait_for(entering, PATIENCE_S)

    asyncio.run(story())


def test_requests_wait_for_the_actions_that_came_before_them_and_not_for_later_ones():
    async def story():
        gate, seen = Gate(4), list[str]()

        async def request() -> None:
            await gate.caught_up(timeout_s=PATIENCE_S)
            seen.append("request")

        await gate.admit(a_chunk(1))
        waiting = asyncio.create_task(request())
        await asyncio.sleep(0)
        await gate.admit(a_chunk(1))  # later
        assert seen == []
        gate.chunk_applied()
        await waiting
        assert seen == ["request"]

    asyncio.run(story())


def test_requests_never_wait_for_long():
    async def story():
        gate = Gate(4)
        await gate.admit(a_chunk(1))
        await gate.caught_up(timeout_s=0.01)
        gate.reset()
        await gate.caught_up(timeout_s=2 * PATIENCE_S)

    asyncio.run(asyncio.wait_for(story(), PATIENCE_S))
