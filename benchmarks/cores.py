"""Processes kept on a core each, so that none takes what another is measured by."""

import os
from contextlib import suppress
from pathlib import Path


def pin(pid: int, core: int) -> None:
    """Keep a process of this machine on a core, also the threads that it has already.

    The system call moves one thread, and those that it starts from then on.
    """
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):  # it ended meanwhile
            os.sched_setaffinity(int(thread.name), {core})
