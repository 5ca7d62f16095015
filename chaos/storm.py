"""Lets the faults of a plan happen in time, and end in time."""

import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from subprocess import Popen
from threading import Thread
from time import monotonic

from chaos import disks
from chaos.load import Load
from chaos.plan import OF_BROKERS, POISON, Fault, Kind
from chaos.proxy import Line
from chaos.system import Condition, Fleet, Slot
from chaos.topics import create_changelog_anew
from rankstream.streams.broker import LocalBroker

FLIPPED = 64  # bytes of a damaged file
DATABASE_FILES = ("*.sst", "MANIFEST-*")
JUMP_S = 2 * 3_600
LINES = {Kind.CUT: Line.CUT, Kind.SLOW_NETWORK: Line.SLOW, Kind.HALF_OPEN: Line.HALF_OPEN}
JUMPS = {Kind.CLOCK_AHEAD: JUMP_S, Kind.CLOCK_BEHIND: -JUMP_S}


class Storm:
    """A plan under way."""

    def __init__(self, plan: list[Fault], seed: int, fleet: Fleet, load: Load, broker: LocalBroker | None) -> None:
        self.fleet, self.load, self.broker = fleet, load, broker
        self.happened: Counter[Kind] = Counter()
        self.history: list[Fault] = []  # as it happened
        self.failures: list[BaseException] = []
        self.broker_is = Condition.UP
        self.started_at = monotonic()
        self._rng = random.Random(seed)
        self._order = count()
        self._busy: Thread | None = None  # with the broker, which takes its time
        self._todo: list[tuple[float, int, Fault, bool]] = []  # time, tie-break, fault, whether it ends then
        for fault in plan:
            self._add(fault.at_s, fault, False)

    @property
    def is_over(self) -> bool:
        """Return whether nothing is left to happen."""
        return not self._todo and (self._busy is None or not self._busy.is_alive())

    @property
    def conditions(self) -> list[Condition]:
        """Return what each worker is doing, and the broker where it can be hit."""
        workers = [slot.condition for slot in self.fleet.slots]
        return workers if self.broker is None else [*workers, self.broker_is]

    @property
    def now_s(self) -> float:
        """Return the time since the start."""
        return monotonic() - self.started_at

    def step(self) -> list[Fault]:
        """Do what is due; return the faults that began."""
        begun = []
        while self._todo and self._todo[0][0] <= self.now_s:
            _, _, fault, ends = heappop(self._todo)
            if ends:
                self._end(fault)
            else:
                self._begin(fault)
                begun.append(Fault(self.now_s, fault.kind, fault.worker, fault.lasts_s))
        self.history += begun
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
            self._add(self.now_s + fault.lasts_s, fault, True)

    def _end(self, fault: Fault) -> None:
        slot = self.fleet.slots[fault.worker]
        if fault.kind is Kind.STAND_STILL:
            slot.wake()
        elif fault.kind is Kind.STALL_BROKER:
            self._broker_process().send_signal(signal.SIGCONT)
            self.broker_is = Condition.UP
        elif fault.kind is Kind.FULL_DISK:
            disks.empty(slot.settings.state_dir)
        elif fault.kind in JUMPS and slot.clock is not None:
            slot.clock.jump(0)
        elif fault.kind in LINES and slot.line is not None:
            if slot.line.line is LINES[fault.kind]:  # else another fault has it since
                slot.line.become(Line.WHOLE)
        elif fault.kind is Kind.KILL_BROKER and self.broker is not None:
            self.broker_is = Condition.STARTING
            self._meanwhile(partial(self._start_broker, self.broker))

    # --- brokers

    def _hit_broker(self, kind: Kind) -> None:
        if self._busy is not None:
            self._busy.join()
        if kind is Kind.CHANGELOG_ANEW:
            self._meanwhile(lambda: create_changelog_anew(self.load.settings))
            return
        process = self._broker_process()
        process.send_signal(signal.SIGKILL if kind is Kind.KILL_BROKER else signal.SIGSTOP)
        self.broker_is = Condition.STILL
        if kind is Kind.KILL_BROKER:
            process.wait()
            self.broker_is = Condition.DOWN

    def _start_broker(self, broker: LocalBroker) -> None:
        broker.start()
        self.broker_is = Condition.UP

    def _meanwhile(self, work: Callable[[], object]) -> None:
        def noting_failure() -> None:
            try:
                work()
            except Exception as exc:  # of the run, for the ledger
                self.failures.append(exc)

        self._busy = Thread(target=noting_failure, daemon=True)
        self._busy.start()

    def _broker_process(self) -> Popen[bytes]:
        if self.broker is None or self.broker.process is None:
            raise RuntimeError("the plan hits a broker that is not ours; make it without brokers")
        return self.broker.process

    # --- workers

    def _hit(self, slot: Slot, kind: Kind) -> None:
        if kind is Kind.TERMINATE:
            slot.ask()
        elif kind is Kind.STAND_STILL:
            slot.stop()
        elif kind is Kind.FULL_DISK:
            disks.fill(slot.settings.state_dir)
        elif kind in JUMPS and slot.clock is not None:
            slot.clock.jump(JUMPS[kind])
        elif kind in LINES and slot.line is not None:
            slot.line.become(LINES[kind])
        else:
            self._kill(slot, kind)

    def _kill(self, slot: Slot, kind: Kind) -> None:
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
        with suppress(OSError):  # a full disk
            path.write_bytes(content)
