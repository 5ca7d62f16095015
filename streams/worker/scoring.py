"""Where requests are scored: on the event loop while that holds it up for milliseconds only, else in threads beside it.

To hand work to a thread and its answers back takes two turns of the interpreter's lock, which the loop, the consumer's
thread and the scoring thread then pass to and fro: 1 to 3 ms, beside the 2 or 3 that a small request takes itself
(``benchmarks/README.md``). On the loop nothing is handed over, but nothing else goes on there meanwhile, only fetching.
So requests are scored there only where all that wait, together, are expected to take less than ``ON_LOOP_S``,
and never where there is more than one scoring thread: whoever asks for several has cores for them, or a card.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import thread_time

from rankstream.streams.pipeline import PendingRequests
from rankstream.streams.records import Outgoing

ON_LOOP_S = 0.005  # that the loop may stand still: as long as a thread that wants the interpreter's lock waits for it
WEIGHT = 0.2  # of the newest measurement in the averages


class Expected:
    """What a request takes, by those before it: as long as they, or longer in proportion where it is larger.

    Of the thread that answers it is the CPU time: what else keeps a core busy is no reason to hand work over.
    """

    def __init__(self) -> None:
        self._seconds: float | None = None  # of a request; not known before the first
        self._candidates = 1.0  # of a request

    def seconds(self, requests: int, candidates: int) -> float:
        """Return what so many requests take that have so many candidates together; infinity before the first."""
        if self._seconds is None:
            return float("inf")
        return requests * self._seconds * max(1.0, candidates / requests / self._candidates)

    def took(self, seconds: float, requests: int, candidates: int) -> None:
        """Note what some requests have taken."""
        each, of_each = seconds / requests, max(1.0, candidates / requests)
        if self._seconds is None:
            self._seconds, self._candidates = each, of_each
            return
        self._seconds += WEIGHT * (each - self._seconds)
        self._candidates += WEIGHT * (of_each - self._candidates)


class Scoring:
    """Runs the slow part of requests; used from the event loop."""

    def __init__(self, threads: int, waiting: Callable[[], int]) -> None:
        """Take ``waiting``, which says how many requests of the worker are not answered yet, those in hand included."""
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="scoring")
        self._may_hold_up = threads == 1
        self._waiting = waiting
        self._expected = Expected()

    async def run(self, pending: PendingRequests) -> list[Outgoing]:
        """Answer requests, in order."""
        requests, candidates = len(pending.requests), pending.num_candidates
        if not requests:
            return pending.answer()
        if self._is_quick(requests, candidates):
            outgoing, seconds = timed(pending)
        else:
            outgoing, seconds = await asyncio.get_running_loop().run_in_executor(self._threads, timed, pending)
        self._expected.took(seconds, requests, candidates)
        return outgoing

    def _is_quick(self, requests: int, candidates: int) -> bool:
        if not self._may_hold_up:
            return False
        waiting = max(requests, self._waiting())
        return self._expected.seconds(waiting, candidates * waiting // requests) <= ON_LOOP_S

    def close(self) -> None:
        """End the threads; what waits for one is not run."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def timed(pending: PendingRequests) -> tuple[list[Outgoing], float]:
    """Return the answers, and the CPU time that they took."""
    started = thread_time()
    outgoing = pending.answer()
    return outgoing, thread_time() - started
