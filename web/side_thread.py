"""A thread for what ranks beside the feeds: pages wait there for each other, never the feeds for them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from rankstream.gateway.answers import RefusedError

T = TypeVar("T")


class SideThread:
    """Does one thing after the other, and refuses when as many wait as it lets."""

    def __init__(self, name: str, max_waiting: int) -> None:
        self.max_waiting = max_waiting
        self._jobs: set[Future[Any]] = set()
        self._thread = ThreadPoolExecutor(1, name)

    async def run(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns. Raises ``RefusedError`` where too much waits; who is gone waits no longer."""
        if len(self._jobs) >= self.max_waiting:
            raise RefusedError(429, "too-many", f"{len(self._jobs)} questions of pages wait here already", 1)
        job = self._thread.submit(work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        return await asyncio.wrap_future(job)

    def close(self) -> None:
        """End; what waits is not done."""
        self._thread.shutdown(wait=True, cancel_futures=True)
