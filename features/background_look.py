"""A look at files now and then, in a thread of its own: whoever needs it goes on at once, however long the disk takes.

A file system over a network may hang for minutes, and a look for a new version is due in the middle of a request.
"""

import threading
from collections.abc import Callable


class BackgroundLook:
    """Looks when it is due, and never while the look before is under way; safe to use from many threads."""

    def __init__(self, look: Callable[[], object], *, every_s: float, clock: Callable[[], float], thread: str) -> None:
        """``thread`` is the name of the threads that look."""
        self._look, self._every_s, self._clock, self._thread = look, every_s, clock, thread
        self._due_at = clock() + every_s
        self._looking = threading.Lock()

    def if_due(self) -> None:
        """Begin a look if it is time for one; return at once."""
        if self._clock() >= self._due_at and self._looking.acquire(blocking=False):
            self._due_at = self._clock() + self._every_s
            threading.Thread(target=self._run, name=self._thread, daemon=True).start()

    def _run(self) -> None:
        try:
            self._look()
        finally:
            self._looking.release()
