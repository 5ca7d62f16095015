"""The workers, each with a folder, a line to the broker and a clock of its own. Who ends is started again.

A worker is the very command that operators run.
"""

import re
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from time import monotonic, sleep

from chaos.clocks import Clock
from chaos.proxy import HOST, Proxy
from rankstream.cli.worker_process import WorkerProcess, worker_flags
from rankstream.streams.settings import AUTO, PLAIN, Settings

ENGINES = (AUTO, PLAIN)  # by turns: users move from one to the other, and nobody must see it
AGAIN_S = 0.5  # until a worker that ended is started again
ENDS_S = 25.0  # that a worker is gone after it was asked to end; it promises 20
READY, READY_S, LOOK_S = "Worker ready", 120.0, 0.2


class Condition(Enum):
    """What a worker is doing, as far as can be seen from without."""

    DOWN = "down"
    STARTING = "starting"  # until it has joined, restored and opened what it was given
    UP = "up"
    STILL = "standing still"


@dataclass
class Slot:
    """One worker after the other, all with one folder."""

    number: int
    settings: Settings
    logs: Path
    line: Proxy | None = None  # to the broker; None where it goes there directly
    clock: Clock | None = None  # None: the machine's
    starts: int = 0
    process: Popen[bytes] | None = None
    log: Path = Path()
    ended_at: float | None = None
    asked_at: float | None = None  # when it was asked to end: it must be gone soon
    is_still: bool = False
    was_ready: bool = False  # since its start

    def start(self) -> None:
        """Start a worker."""
        self.log = self.logs / f"worker-{self.number}-{self.starts}.log"
        environment: Mapping[str, str] = {} if self.clock is None else self.clock.environment
        worker = WorkerProcess(worker_flags(self.settings), self.log, environment)
        worker.start()
        self.process, self.ended_at, self.asked_at = worker.process, None, None
        self.is_still = self.was_ready = False
        self.starts += 1

    @property
    def is_ready(self) -> bool:
        """Whether it has been ready since its start."""
        self.was_ready = self.was_ready or READY in self.log.read_text(errors="replace")
        return self.was_ready

    @property
    def condition(self) -> Condition:
        """What it is doing."""
        if self.process is None or self.process.poll() is not None:
            return Condition.DOWN
        if self.is_still:
            return Condition.STILL
        return Condition.UP if self.is_ready else Condition.STARTING

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it lives."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def ask(self) -> None:
        """Ask it to end."""
        self.signal(signal.SIGTERM)
        self.asked_at = monotonic()

    def stop(self) -> None:
        """Have it stand still."""
        self.signal(signal.SIGSTOP)
        self.is_still = True

    def wake(self) -> None:
        """Let it go on; if it was asked to end while it stood still, it hears so now."""
        self.signal(signal.SIGCONT)
        self.is_still = False
        if self.asked_at is not None:
            self.asked_at = monotonic()

    def kill(self) -> None:
        """End it at once."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def do_as_told(self) -> bool:
        """Move a folder away if that is what the worker's log asks the operator for; return whether it did."""
        folder = to_be_moved(self.log.read_text(errors="replace"))
        if folder is None or not folder.is_relative_to(self.settings.state_dir) or not folder.exists():
            return False
        folder.rename(folder.with_name(f"{folder.name}.moved{self.starts}"))
        return True

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


def to_be_moved(log: str) -> Path | None:
    """Return the folder that a worker has asked to move away; it restores by itself what it can be sure of."""
    found = re.search(r"the state folder (\S+) can't be read .*: move it away and start again", log)
    return None if found is None else Path(found[1])


class Fleet:
    """All workers of a system."""

    def __init__(
        self,
        settings: Settings,
        folders: Sequence[Path],  # of states, one a worker
        logs: Path,
        lines: Sequence[Proxy] = (),  # none: workers go to the broker directly
        clocks: Sequence[Clock] = (),  # none: the machine's
    ) -> None:
        self.slots = [
            Slot(number, replace(settings, state_dir=one, engine=ENGINES[number % len(ENGINES)]), logs)
            for number, one in enumerate(folders)
        ]
        for slot, line in zip(self.slots, lines, strict=bool(lines)):
            slot.line, slot.settings = line, replace(slot.settings, bootstrap_servers=f"{HOST}:{line.port}")
        for slot, clock in zip(self.slots, clocks, strict=bool(clocks)):
            slot.clock = clock
        self.hung = 0  # workers that did not end in time
        self.ended: Counter[int] = Counter()  # exit codes
        self.moved_away = 0  # folders, as a worker's last words said

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
                self.moved_away += slot.do_as_told()
            elif now - slot.ended_at >= AGAIN_S:
                slot.start()

    def wait_ready(self) -> None:
        """Wait until each has restored what it lacked, or patience ends."""
        deadline = monotonic() + READY_S
        while monotonic() < deadline and not all(slot.is_ready for slot in self.slots):
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
