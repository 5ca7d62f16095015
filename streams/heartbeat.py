"""Whether the event loop turns, and how late it is: a beat is due every so often, and each notes its delay."""

import asyncio
from collections.abc import Callable
from time import monotonic

from rankstream.streams.histogram import MOMENTS_S, Histogram

EVERY_S = 0.25  # four wake-ups a second cost nothing that can be measured
STANDS_STILL_S = 10.0  # without a beat for so long, a supervisor may as well start the process again


class Heartbeat:
    """The beats of one event loop."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._beat_at = clock()
        self.delay_s = Histogram(MOMENTS_S)  # of each beat, behind the time that it was due

    @property
    def is_live(self) -> bool:
        """Return whether the loop turns."""
        return self.age_s <= STANDS_STILL_S

    @property
    def age_s(self) -> float:
        """Return how long ago the last beat was."""
        return self._clock() - self._beat_at

    def beat(self) -> None:
        """Note that the loop came round, ``EVERY_S`` after the last time if it has nothing that holds it up."""
        now = self._clock()
        self.delay_s.observe(max(0.0, now - self._beat_at - EVERY_S))
        self._beat_at = now

    async def keep_beating(self) -> None:
        """Beat for ever."""
        while True:
            await asyncio.sleep(EVERY_S)
            self.beat()
