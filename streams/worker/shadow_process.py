"""The process beside a worker that ranks sampled requests by both bundles, and reports how they differ.

It reads frames from standard input: first what to do (``Task``), then a request with its user's state as of when it was
answered, or a sign of life, until the input ends. Both bundles are opened with the worker's settings, but for
exploration, and take turns to be the first: what differs is then the bundles' doing. One thread and no time limit: who
stops reporting is taken for stuck.
"""

import os
import pickle
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from rankstream.features.user_state import unpack_state
from rankstream.ranking.bundle import BundleRefusedError
from rankstream.ranking.ranker import Ranker
from rankstream.ranking.request import RankingRefusedError, RankingRequest
from rankstream.ranking.serving import LiveRanker
from rankstream.ranking.shadow.comparison import Outcome
from rankstream.ranking.shadow.report import Tally, write_report
from rankstream.ranking.trial import trial
from rankstream.streams.pipeline import INTERNAL, wall_clock_ms
from rankstream.streams.settings import Settings
from rankstream.streams.worker.open_serving import open_bundle_of

NICENESS = 10  # what serves goes first
REPORT_S = 1.0
LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Task:
    """What to compare, and where to report it."""

    worker: str
    serving: Path  # folder of a bundle
    new: Path  # folder of a bundle
    reports: Path  # folder
    settings: Settings  # of the worker

    def opened(self, bundle: Path) -> LiveRanker:
        """Open a bundle as the worker would, without exploration. Raises ``BundleRefusedError``."""
        return open_bundle_of(replace(self.settings, exploration="off"), bundle)


class Sampled(Struct, frozen=True):
    """One request; none is a sign of life."""

    skipped: int = 0  # so far, of the sample
    request: RankingRequest | None = None
    state: bytes = b""
    asked_ms: int = 0


def frame(message: Task | Sampled) -> bytes:
    """Return a message as it goes through the pipe; pickled, the task comes from the very process that started this."""
    packed = pickle.dumps(message) if isinstance(message, Task) else msgspec.msgpack.encode(message)
    return LENGTH.pack(len(packed)) + packed


def frames(stream: BinaryIO) -> Iterator[bytes]:
    """Yield messages until the stream ends."""
    while len(head := stream.read(LENGTH.size)) == LENGTH.size:
        (length,) = LENGTH.unpack(head)
        packed = stream.read(length)
        if len(packed) < length:
            return
        yield packed


def outcome_of(ranker: Ranker, request: RankingRequest, sampled: Sampled, history_limit: int) -> Outcome:
    """Rank a request, and measure that."""
    state = unpack_state(sampled.state, history_limit)
    started = time.perf_counter()
    try:
        ranking = ranker.rank(request, state, sampled.asked_ms)
    except RankingRefusedError as exc:
        return Outcome(error=exc.reason)
    except Exception:  # as the pipeline has it: a bug that one request ran into
        return Outcome(error=INTERNAL)
    took_ms = 1e3 * (time.perf_counter() - started)
    return Outcome(tuple(item.item_id for item in ranking.items), took_ms)


class ShadowProcess:
    """Two rankers, and what they made of the requests so far."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.tally = Tally(task.worker)
        self._serving, self._new = task.opened(task.serving), task.opened(task.new)
        self._turns = 0
        self._report_at = 0.0

    def warm_up(self) -> None:
        """Rank what is not counted: first times are slow."""
        if self._new.bundle is not None:
            trial(self._new.current, self._serving.current, self._new.bundle, requests=1)

    def take(self, packed: bytes) -> None:
        """Rank one request by both bundles, and report now and then."""
        sampled = msgspec.msgpack.decode(packed, type=Sampled)
        self.tally.skipped = sampled.skipped
        if sampled.request is not None:
            self._compare(sampled.request, sampled)
        if time.monotonic() >= self._report_at:
            self.report()

    def _compare(self, request: RankingRequest, sampled: Sampled) -> None:
        rankers = [self._serving.current, self._new.current]
        self._turns += 1
        order = (0, 1) if self._turns % 2 else (1, 0)
        found = {
            which: outcome_of(rankers[which], request, sampled, self.task.settings.history_limit) for which in order
        }
        self.tally.add(found[0], found[1])

    def report(self) -> None:
        """Write what was found so far. Raises ``FileNotFoundError`` where the command wants no more of it."""
        write_report(self.task.reports, self.tally.report(wall_clock_ms()))
        self._report_at = time.monotonic() + REPORT_S


def main() -> int:
    """Compare until the input ends; return the exit code."""
    os.nice(NICENESS)
    incoming = frames(sys.stdin.buffer)
    task: Task = pickle.loads(next(incoming))
    with suppress(FileNotFoundError):  # the command was quicker: it has deleted the reports
        return _compared(task, incoming)
    return 0


def _compared(task: Task, incoming: Iterator[bytes]) -> int:
    try:
        shadow = ShadowProcess(task)
        shadow.warm_up()
        shadow.report()
        for packed in incoming:
            shadow.take(packed)
        shadow.report()
    except FileNotFoundError:
        raise
    except Exception as exc:
        told = str(exc) if isinstance(exc, BundleRefusedError) else f"{type(exc).__name__}: {exc}"
        write_report(task.reports, Tally(task.worker).report(wall_clock_ms(), f"it can't be tried: {told}"))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
