"""How much may wait before reading pauses.

Actions are quick, so the one loop that hands chunks on may wait for them. Requests are slow; waiting for them there
would hold the actions up too, and feeds would grow stale. So when many requests wait, only their partitions pause.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Protocol

from faust.types import TP

from streams.chunks import Chunk


class Pauses(Protocol):
    """What is needed of Faust's consumer: it stops and resumes reading partitions, what is fetched is still given."""

    def on_buffer_full(self, tp: TP) -> None:
        """Stop reading a partition."""
        ...

    def on_buffer_drop(self, tp: TP) -> None:
        """Read it again."""
        ...


class Gate:
    """Lets chunks in while fewer than ``limit`` wait in the agent's queue."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.waiting: Callable[[], int] = lambda: 0  # set by the agent once it has a queue
        self._room = asyncio.Event()

    async def admit(self, chunk: Chunk) -> None:
        """Wait for room."""
        while self.waiting() >= self.limit:
            self._room.clear()
            await self._room.wait()

    def took_one(self) -> None:
        """Say that the agent took a chunk out of its queue."""
        self._room.set()


class Pressure:
    """Stops reading requests while more than ``limit`` wait, until half of them are answered."""

    def __init__(self, limit: int, consumer: Callable[[], Pauses], request_tps: Callable[[], Collection[TP]]) -> None:
        self.limit = limit
        self.waiting = 0  # requests in the agent's queue or at work
        self._consumer = consumer
        self._request_tps = request_tps
        self._stopped: set[TP] = set()

    async def admit(self, chunk: Chunk) -> None:
        """Count a chunk that came; never waits."""
        self.waiting += len(chunk.records)
        if self.waiting > self.limit and not self._stopped:
            self._stopped = set(self._request_tps())
            for tp in self._stopped:
                self._consumer().on_buffer_full(tp)

    def answered(self, chunk: Chunk) -> None:
        """Count a chunk that is done with."""
        self.waiting = max(0, self.waiting - len(chunk.records))
        if self.waiting <= self.limit // 2:
            self._resume()

    def reset(self) -> None:
        """Forget all that waited: a rebalance has emptied the queue."""
        self.waiting = 0
        self._resume()

    def _resume(self) -> None:
        stopped, self._stopped = self._stopped, set()
        for tp in stopped:
            self._consumer().on_buffer_drop(tp)
