"""Whether brokers answer: asked every second or so.

The log is told once when they stop, then each minute, and when they are back. What the client libraries say of each
attempt meanwhile is left out of it (``log_lines.py``).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic

LOOK_EVERY_S = 1.0
LOOK_S = 3.0  # without an answer for so long there is no broker
TELL_EVERY_S = 60.0

log = logging.getLogger(__name__)


async def nothing_more(told: str) -> str:
    """Return what is told as it is."""
    return told


class BrokerWatch:
    """When a broker has answered last, and why none does."""

    def __init__(
        self,
        servers: str,
        is_answered: Callable[[], Awaitable[bool]],
        diagnosis: Callable[[str], Awaitable[str]] = nothing_more,
        patience_s: float = LOOK_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.down: str | None = None  # why, in a sentence; None while a broker answers
        self.outages = 0
        self._servers = servers
        self._is_answered = is_answered  # asks a broker; may take as long as it likes, or raise OSError
        self._diagnosis = diagnosis  # makes more of the sentence
        self._patience_s = patience_s
        self._clock = clock
        self._seen_at = clock()
        self._told_at = 0.0

    @property
    def age_s(self) -> float:
        """Return how long ago a broker has answered."""
        return self._clock() - self._seen_at

    def seen(self) -> None:
        """Note that a broker has answered just now."""
        self._seen_at = self._clock()

    async def watch(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Ask a broker, and tell where that has changed, or is so for another minute."""
        if await self._answers():
            self._is_back()
        elif self.down is None:
            self.down = f"no Kafka broker answers at {self._servers}"  # said at once
            self.outages += 1
            self._told_at = self._clock()
            self.down = await self._diagnosis(self.down)
            log.warning("%s", self.down)
        elif self._clock() - self._told_at >= TELL_EVERY_S:
            self._told_at = self._clock()
            log.warning("%s, for %.0f s", self.down, self.age_s)

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(self._patience_s):
                return await self._is_answered()
        except (TimeoutError, OSError):
            return False

    def _is_back(self) -> None:
        if self.down is not None:
            log.info("a broker answers again, after %.0f s", self.age_s)
        self.down = None
        self.seen()
