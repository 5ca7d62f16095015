"""Dynamic batching: requests that many threads ask at the same time are started together.

A batch is what waits when it can be started, at most ``max_batch``. With ``wait_s`` it also waits for more, but never
longer than that after its first request came. ``in_flight`` batches are started at a time: while one is computed the
next is copied, so that the device never waits for this machine.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Waiting(Generic[Asked, Answer]):
    """A request, when it came, and where its answer goes."""

    asked: Asked
    came_s: float
    answer: "Future[Answer]" = field(default_factory=Future)


@dataclass(frozen=True)
class Started(Generic[Asked, Answer]):
    """A batch, and what waits for its answers."""

    batch: Sequence[Waiting[Asked, Answer]]
    end: Callable[[], Sequence[Answer]]


class BatcherClosedError(RuntimeError):
    """A request that came after the end; the message is one sentence."""


class Batcher(Generic[Asked, Answer]):
    """Starts batches in one thread and ends them in another; safe to ask from many threads.

    ``start`` begins a batch and returns what waits for its answers, in the order of the requests.
    """

    def __init__(
        self,
        start: Callable[[Sequence[Asked]], Callable[[], Sequence[Answer]]],
        *,
        max_batch: int = 32,
        wait_s: float = 0.0,
        in_flight: int = 2,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._start, self._clock = start, clock
        self._max_batch, self._wait_s = max_batch, wait_s
        self._queue: SimpleQueue[Waiting[Asked, Answer] | None] = SimpleQueue()
        self._started: SimpleQueue[Started[Asked, Answer] | None] = SimpleQueue()
        self._free = threading.Semaphore(in_flight)
        self._closing, self._is_closed = threading.Lock(), False
        for target in (self._start_batches, self._end_batches):
            threading.Thread(target=target, name=f"rankstream-{target.__name__.strip('_')}", daemon=True).start()

    def ask(self, asked: Asked) -> Answer:
        """Return the answer to a request, in whatever batch; raises what its batch raised.

        Raises ``BatcherClosedError`` after ``close``: nobody would take it from the queue.
        """
        waiting: Waiting[Asked, Answer] = Waiting(asked, self._clock())
        with self._closing:
            if self._is_closed:
                raise BatcherClosedError("this scorer was closed, so no request is taken any more: ask the one in use")
            self._queue.put(waiting)
        return waiting.answer.result()

    def close(self) -> None:
        """End both threads, after what waits."""
        with self._closing:
            if not self._is_closed:
                self._is_closed = True
                self._queue.put(None)

    def _start_batches(self) -> None:
        while (first := self._queue.get()) is not None:
            self._free.acquire()
            batch, closed = self._with_more(first)
            try:
                end = self._start([one.asked for one in batch])
            except Exception as exc:  # whatever it is, those who asked get it
                self._free.release()
                _fail(batch, exc)
            else:
                self._started.put(Started(batch, end))
            if closed:
                break
        self._started.put(None)

    def _with_more(self, first: Waiting[Asked, Answer]) -> tuple[list[Waiting[Asked, Answer]], bool]:
        """Return a batch that begins with ``first``, and whether the end of all requests came behind it."""
        batch, until_s = [first], first.came_s + self._wait_s
        while len(batch) < self._max_batch:
            left_s = until_s - self._clock()
            try:
                one = self._queue.get(timeout=left_s) if left_s > 0 else self._queue.get_nowait()
            except Empty:
                break
            if one is None:
                return batch, True
            batch.append(one)
        return batch, False

    def _end_batches(self) -> None:
        while (started := self._started.get()) is not None:
            try:
                answers = _one_each(started.end(), started.batch)
            except Exception as exc:
                _fail(started.batch, exc)
            else:
                for one, answer in zip(started.batch, answers, strict=True):
                    one.answer.set_result(answer)
            self._free.release()


def _one_each(answers: Sequence[Answer], batch: Sequence[object]) -> Sequence[Answer]:
    """Return the answers. Raises ``ValueError`` where there is not one for each request."""
    if len(answers) != len(batch):
        raise ValueError(f"{len(batch)} requests were asked together, and {len(answers)} answers came")
    return answers


def _fail(batch: Sequence[Waiting[Asked, Answer]], exc: Exception) -> None:
    for one in batch:
        one.answer.set_exception(exc)
