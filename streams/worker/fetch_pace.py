"""When a consumer fetches, and how long a broker holds a fetch: requests at once, actions a few at a time.

At a thousand actions a second a fetch without a pace brings one or two of them, and costs as much as one that brings
ten: time of the core, and of the lock that scoring waits for. So a fetch goes out no sooner than a pace after the last
one; and while records come quickly it lies with the broker meanwhile, which answers it

::

    once HELD_BYTES are there    a request of a hundred candidates is as large by itself: it need not wait for the pace
    or the pace is over          with the few actions that came

Where few records come, a fetch is answered at the first of them. Names of aiokafka used here are not public
(``_min_bytes``, ``_max_wait_ms``): it is pinned.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

from aiokafka.protocol.fetch import FetchRequest

HELD_BYTES = 512  # an action alone takes 150 as it lies in the log, and a request with 100 candidates 600


class FetchPace:
    """Sends what a client sends, fetches of one broker no sooner than ``pace_s()`` after each other."""

    def __init__(self, client: Any, pace_s: Callable[[], float]) -> None:
        self._pace_s = pace_s
        self._send, client.send = client.send, self.send
        self._sent_at_s: dict[int, float] = {}  # by broker: the last fetch
        self._busy: set[int] = set()  # brokers whose last fetch brought records within two paces

    async def send(self, node_id: int, request: Any, **options: Any) -> Any:
        """Send a request, a fetch when it is due."""
        if not isinstance(request, FetchRequest):
            return await self._send(node_id, request, **options)
        pace_s = self._pace_s()
        wait_s = self._sent_at_s.get(node_id, 0.0) + pace_s - monotonic()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        if node_id in self._busy:
            hold(request, pace_s)
        self._busy.discard(node_id)
        self._sent_at_s[node_id] = started = monotonic()
        answer = await self._send(node_id, request, **options)
        if has_records(answer) and monotonic() - started < 2 * pace_s:
            self._busy.add(node_id)
        return answer


def hold(fetch: Any, longest_s: float) -> None:
    """Have a broker wait with the answer for more than one record, but not for longer than this."""
    fetch._min_bytes = max(fetch._min_bytes, HELD_BYTES)
    fetch._max_wait_ms = min(fetch._max_wait_ms, max(1, round(1000 * longest_s)))


def has_records(answer: Any) -> bool:
    """Return whether a fetch has brought anything."""
    return any(partition[-1] for _, partitions in answer.topics for partition in partitions)
