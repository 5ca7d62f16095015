"""Waits for threads that the product starts and nobody holds, and finds those that a test left."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.builders.patience import PATIENCE_S


def wait_for_threads(*names: str) -> None:
    """Wait until no thread of one of these names runs.

    None is joined: one that is about to start is listed already, and can't be joined yet.
    """
    _wait_for(lambda: [thread for thread in threading.enumerate() if thread.name in names])


@contextmanager
def none_left() -> Iterator[None]:
    """Fail if threads that began in the block go on after it: what they do meets tests that come later."""
    before = set(threading.enumerate())
    yield
    _wait_for(lambda: [thread for thread in threading.enumerate() if thread not in before])


def _wait_for(running: Callable[[], list[threading.Thread]]) -> None:
    until = time.monotonic() + PATIENCE_S
    while left := running():
        assert time.monotonic() < until, f"{left} go on running"
        time.sleep(0.001)
