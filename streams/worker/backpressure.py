"""How much may wait before reading pauses.

Actions are quick, so the one loop that hands chunks on may wait for them. Requests are slow; waiting for them there
would hold the actions up too, and feeds would grow stale. So when many requests wait, only their partitions pause.
"""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Protocol

from faust.types import TP

from rankstream.streams.worker.chunks import Chunk

MAX_WAITING_BYTES = 64 << 20  # of requests: 200 of the largest, 10,000 of 500 candidates


class PausableConsumer(Protocol):
    """The part of Faust's consumer used here: reading stops and resumes, what is fetched is still delivered."""

    def on_buffer_full(self, tp: TP) -> None:
        """Stop reading a partition."""
        ...

    def on_buffer_drop(self, tp: TP) -> None:
        """Read it again."""
        ...


class Gate:
    """Admits chunks while fewer than ``limit`` wait in the agent's queue, and knows when those admitted are applied."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.waiting: Callable[[], int] = lambda: 0  # set by the agent once it has a queue
        self._admitted = 0
        self._applied = 0
        self._room = asyncio.Event()
        self._progress = asyncio.Event()

    async def admit(self, chunk: Chunk) -> None:
        """Wait for room."""
        while self.waiting() >= self.limit:
            self._room.clear()
            await self._room.wait()
        self._admitted += 1

    def chunk_taken(self) -> None:
        """Note that the agent took a chunk out of its queue."""
        self._room.set()

    def chunk_applied(self) -> None:
        """Note that the agent has applied a chunk."""
        self._applied += 1
        self._progress.set()

    async def caught_up(self, timeout_s: float) -> None:
        """Wait until every chunk admitted so far is applied, but no longer than ``timeout_s``."""
        admitted = self._admitted
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._applied < admitted:
                    self._progress.clear()
                    await self._progress.wait()

    def reset(self) -> None:
        """Forget admitted chunks: a rebalance has emptied the queue."""
        self._applied = self._admitted
        self._progress.set()


class Pressure:
    """Stops reading requests while more than ``limit`` wait, or too many bytes, until half of them are answered."""

    def __init__(
        self, limit: int, consumer: Callable[[], PausableConsumer], request_tps: Callable[[], Collection[TP]]
    ) -> None:
        self.limit = limit
        self.waiting = 0  # requests in the queues or being answered
        self.waiting_bytes = 0
        self._consumer = consumer
        self._request_tps = request_tps
        self._stopped: set[TP] = set()

    async def admit(self, chunk: Chunk) -> None:
        """Count a chunk that came; never waits."""
        self.waiting += len(chunk.records)
        self.waiting_bytes += chunk.num_bytes
        if (self.waiting > self.limit or self.waiting_bytes > MAX_WAITING_BYTES) and not self._stopped:
            self._stopped = set(self._request_tps())
            for tp in self._stopped:
                self._consumer().on_buffer_full(tp)

    def answered(self, chunk: Chunk) -> None:
        """Count a chunk that has been answered."""
        self.waiting = max(0, self.waiting - len(chunk.records))
        self.waiting_bytes = max(0, self.waiting_bytes - chunk.num_bytes)
        if self.waiting <= self.limit // 2 and self.waiting_bytes <= MAX_WAITING_BYTES // 2:
            self._resume()

    def reset(self) -> None:
        """Forget all that waited: a rebalance has emptied the queue."""
        self.waiting = self.waiting_bytes = 0
        self._resume()

    def _resume(self) -> None:
        stopped, self._stopped = self._stopped, set()
        for tp in stopped:
            self._consumer().on_buffer_drop(tp)
