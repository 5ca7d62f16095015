"""The workers, each with a folder of its own, and what faults do to them. Who ends is started again.

A worker is the very command that operators run.
"""

import random
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from threading import Thread
from time import monotonic, sleep

from chaos.load import Load
from chaos.plan import OF_BROKERS, POISON, Fault, Kind
from rankstream.cli.worker_process import WorkerProcess, worker_flags
from rankstream.streams.broker import LocalBroker
from rankstream.streams.settings import Settings

AGAIN_S = 0.5  # until a worker that ended is started again
ENDS_S = 25.0  # that a worker is gone after it was asked to end; it promises 20
READY, READY_S, LOOK_S = "Worker ready", 120.0, 0.2
FLIPPED = 64  # bytes of a damaged file
DATABASE_FILES = ("*.sst", "MANIFEST-*")


@dataclass
class Slot:
    """One worker after the other, all with one folder."""

    number: int
    settings: Settings
    logs: Path
    starts: int = 0
    process: Popen[bytes] | None = None
    log: Path = Path()
    ended_at: float | None = None
    asked_at: float | None = None  # when it was asked to end: it must be gone soon

    def start(self) -> None:
        """Start a worker."""
        self.log = self.logs / f"worker-{self.number}-{self.starts}.log"
        worker = WorkerProcess(worker_flags(self.settings), self.log)
        worker.start()
        self.process, self.ended_at, self.asked_at = worker.process, None, None
        self.starts += 1

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it lives."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def ask(self) -> None:
        """Ask it to end."""
        self.signal(signal.SIGTERM)
        self.asked_at = monotonic()

    def wake(self) -> None:
        """Let it go on; if it was asked to end while it stood still, it hears so now."""
        self.signal(signal.SIGCONT)
        if self.asked_at is not None:
            self.asked_at = monotonic()

    def kill(self) -> None:
        """End it at once."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def is_gone_in_time(self) -> bool:
        """Wait for its end, and kill it where that takes too long."""
        if self.process is None:
            return True
        try:
            self.process.wait(ENDS_S)
        except TimeoutExpired:
            self.kill()
            return False
        return True


class Fleet:
    """All workers of a system."""

    def __init__(self, settings: Settings, workers: int, folder: Path) -> None:
        self.slots = [
            Slot(number, replace(settings, state_dir=folder / f"state-{number}"), folder) for number in range(workers)
        ]
        self.hung = 0  # workers that did not end in time
        self.ended: Counter[int] = Counter()  # exit codes

    def start(self) -> None:
        """Start them all."""
        for slot in self.slots:
            slot.start()

    def tend(self, now: float) -> None:
        """Start again who ended a moment ago, and kill who should have ended long ago."""
        for slot in self.slots:
            code = None if slot.process is None else slot.process.poll()
            if code is None:
                if slot.asked_at is not None and now - slot.asked_at > ENDS_S:
                    self.hung += 1
                    slot.kill()
            elif slot.ended_at is None:
                slot.ended_at = now
                self.ended[code] += 1
            elif now - slot.ended_at >= AGAIN_S:
                slot.start()

    def wait_ready(self) -> None:
        """Wait until each has restored what it lacked, or patience ends."""
        deadline = monotonic() + READY_S
        while monotonic() < deadline and not all(READY in slot.log.read_text(errors="replace") for slot in self.slots):
            sleep(LOOK_S)

    def end(self) -> None:
        """End them all, as an operator would."""
        for slot in self.slots:
            slot.wake()
            slot.ask()
        for slot in self.slots:
            self.hung += not slot.is_gone_in_time()

    def kill(self) -> None:
        """End them all, at once."""
        for slot in self.slots:
            slot.kill()


@contextmanager
def running(fleet: Fleet) -> Iterator[Fleet]:
    """Start the workers; none is left behind."""
    try:
        fleet.start()
        yield fleet
    finally:
        fleet.kill()


class Storm:
    """Lets the faults of a plan happen in time."""

    def __init__(self, plan: list[Fault], seed: int, fleet: Fleet, load: Load, broker: LocalBroker | None) -> None:
        self.fleet, self.load, self.broker = fleet, load, broker
        self.happened: Counter[Kind] = Counter()
        self.started_at = monotonic()
        self._rng = random.Random(seed)
        self._order = count()
        self._starting: Thread | None = None  # the broker, which takes its time
        self._todo: list[tuple[float, int, Fault, bool]] = []  # time, tie-break, fault, whether it ends then
        for fault in plan:
            self._add(fault.at_s, fault, False)

    @property
    def is_over(self) -> bool:
        """Return whether nothing is left to happen."""
        return not self._todo and (self._starting is None or not self._starting.is_alive())

    def step(self) -> list[Fault]:
        """Do what is due; return the faults that began."""
        begun = []
        while self._todo and self._todo[0][0] <= monotonic() - self.started_at:
            _, _, fault, ends = heappop(self._todo)
            if ends:
                self._end(fault)
            else:
                self._begin(fault)
                begun.append(fault)
        return begun

    def _add(self, at_s: float, fault: Fault, ends: bool) -> None:
        heappush(self._todo, (at_s, next(self._order), fault, ends))

    def _begin(self, fault: Fault) -> None:
        self.happened[fault.kind] += 1
        if fault.kind in POISON:
            self.load.add_poison(fault.kind)
        elif fault.kind in OF_BROKERS:
            self._hit_broker(fault.kind)
        else:
            self._hit(self.fleet.slots[fault.worker], fault.kind)
        if fault.lasts_s:
            self._add(monotonic() - self.started_at + fault.lasts_s, fault, True)

    def _end(self, fault: Fault) -> None:
        if fault.kind is Kind.STAND_STILL:
            self.fleet.slots[fault.worker].wake()
        elif fault.kind is Kind.STALL_BROKER:
            self._broker_process().send_signal(signal.SIGCONT)
        elif self.broker is not None:
            self._starting = Thread(target=self.broker.start, daemon=True)
            self._starting.start()

    def _hit_broker(self, kind: Kind) -> None:
        if self._starting is not None:
            self._starting.join()
        process = self._broker_process()
        process.send_signal(signal.SIGKILL if kind is Kind.KILL_BROKER else signal.SIGSTOP)
        if kind is Kind.KILL_BROKER:
            process.wait()

    def _broker_process(self) -> Popen[bytes]:
        if self.broker is None or self.broker.process is None:
            raise RuntimeError("the plan hits a broker that is not ours; make it without brokers")
        return self.broker.process

    def _hit(self, slot: Slot, kind: Kind) -> None:
        if kind is Kind.TERMINATE:
            slot.ask()
        elif kind is Kind.STAND_STILL:
            slot.signal(signal.SIGSTOP)
        else:
            slot.kill()
        if kind is Kind.LOSE_FOLDER:
            shutil.rmtree(slot.settings.state_dir, ignore_errors=True)
        elif kind is Kind.DAMAGE_FOLDER:
            self._damage(slot.settings.state_dir)

    def _damage(self, folder: Path) -> None:
        """Flip bytes of one file of a database."""
        found = sorted(path for pattern in DATABASE_FILES for path in folder.rglob(pattern) if path.stat().st_size)
        if not found:
            return
        path = self._rng.choice(found)
        content = bytearray(path.read_bytes())
        for at in self._rng.sample(range(len(content)), min(FLIPPED, len(content))):
            content[at] ^= 0xFF
        path.write_bytes(content)
