"""Quotas of brokers (``producer_byte_rate``, ``consumer_byte_rate``, ``request_percentage``): how long they hold back.

Whom a broker finds beyond a quota it answers at once, says for how long, and reads nothing more from that connection
until then (KIP-219). aiokafka passes over what it says and sends the next request, whose answer comes so much later: a
worker is slow then and, to whoever asks it whether a broker answers, alone. Nor is a broker away that holds back: what
would be given up after some seconds (``answered_within``) is waited for so much longer.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

TELL_EVERY_S = 60.0

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Patience:
    """Until when answers are waited for, in one event loop."""

    seconds: float
    limit: asyncio.Timeout
    loop: asyncio.AbstractEventLoop
    is_over: bool = False

    def grow(self, held_back_s: float) -> None:
        """Begin anew where a broker is held back no more; any thread may call it."""
        with suppress(RuntimeError):  # its loop has ended
            self.loop.call_soon_threadsafe(self._grow, held_back_s)

    def _grow(self, held_back_s: float) -> None:
        at = self.loop.time() + held_back_s + self.seconds
        if not (self.is_over or self.limit.expired()):
            self.limit.reschedule(max(at, self.limit.when() or 0.0))


class Throttling:
    """What the brokers have told the clients of one process."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.total_s = 0.0  # of all connections
        self._clock = clock
        self._until = 0.0
        self._told_at: float | None = None
        self._patiences: set[Patience] = set()

    @property
    def holds_back(self) -> bool:
        """Return whether a broker is known to be silent now because of a quota."""
        return self._clock() < self._until

    @asynccontextmanager
    async def answered_within(self, seconds: float) -> AsyncIterator[None]:
        """Raise ``TimeoutError`` after so many seconds in which no broker has held back."""
        async with asyncio.timeout(seconds) as limit:
            patience = Patience(seconds, limit, asyncio.get_running_loop())
            self._patiences.add(patience)
            try:
                yield
            finally:
                patience.is_over = True
                self._patiences.discard(patience)

    def watch(self, client: Any) -> None:
        """Note what the answers to this client of aiokafka say."""
        send = client.send

        async def send_and_note(node_id: int, request: Any, **options: Any) -> Any:
            answer = await send(node_id, request, **options)
            self.note(getattr(answer, "throttle_time_ms", 0), client._client_id)
            return answer

        client.send = send_and_note

    def note(self, throttle_ms: int, client_id: str) -> None:
        """Note what one answer says, and tell the log once a minute."""
        if throttle_ms <= 0:
            return
        now = self._clock()
        self.total_s += throttle_ms / 1000
        self._until = max(self._until, now + throttle_ms / 1000)
        for patience in list(self._patiences):
            patience.grow(throttle_ms / 1000)
        if self._told_at is None or now - self._told_at >= TELL_EVERY_S:
            self._told_at = now
            log.warning(
                "a broker reads nothing from this process for %.1f s, %.1f s in all so far: the client_id %s or its "
                "user is beyond a quota (kafka-configs.sh --describe --entity-type clients, and users); raise it, or "
                "all that goes over that connection waits",
                throttle_ms / 1000,
                self.total_s,
                client_id,
            )


OF_THIS_PROCESS = Throttling()
