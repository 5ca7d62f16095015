"""The end of the process has a limit: a thread ends it where the way out takes longer.

An orderly end waits for brokers, threads and locks, any of which may never answer a worker that others took for dead.
Until it has ended it holds the locks of its state folder, and no supervisor starts another. So this thread knows of
nothing but the clock, and ends the process the hard way, as a kill would, which loses nothing.
"""

import os
import threading
from collections.abc import Callable
from time import monotonic, sleep

EXIT_CODE = 75  # "temporary failure, try again" of sysexits.h
LIMIT_S = 15.0  # for all of the way out
LOOK_S = 0.5


class Watchdog:
    """Ends the process some time after it began to end, or after it stood still for longer than its session."""

    def __init__(
        self,
        session_timeout_s: float,
        end: Callable[[int], object] = os._exit,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._session_timeout_s = session_timeout_s
        self._end = end
        self._clock = clock
        self._looked_at = clock()
        self._leaving: tuple[str, float] | None = None  # why, and until when
        self.stood_still_s = 0.0  # for so long, where it was longer than a session

    def start(self) -> None:
        """Watch from now on, for as long as the process lives."""
        self._looked_at = self._clock()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def leaving(self, why: str) -> None:
        """Note that the process is about to end; the first time counts."""
        if self._leaving is None:
            self._leaving = (why, self._clock() + LIMIT_S)

    def look(self) -> None:
        """End the process if its time is over."""
        gap_s, self._looked_at = self._clock() - self._looked_at, self._clock()
        if gap_s > self._session_timeout_s:
            self.stood_still_s = gap_s
            self.leaving(f"it stood still for {gap_s:.0f} s")
        if self._leaving is not None and self._looked_at > self._leaving[1]:
            self.end_now(f"{self._leaving[0]}, and its orderly end took more than {LIMIT_S:g} s")

    def _watch(self) -> None:
        while True:
            sleep(LOOK_S)
            self.look()

    def end_now(self, why: str) -> None:
        """End the process, with a line to standard error: the log's locks may be held by a thread that hangs."""
        line = f"rankstream ends with exit code {EXIT_CODE}: {why}; what was not checkpointed is read again\n"
        os.write(2, line.encode())
        self._end(EXIT_CODE)
