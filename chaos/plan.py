"""The plan of a run: which fault happens when and to which worker, by nothing but a seed."""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What can happen; ``storm.py`` and ``load.py`` say how."""

    KILL = "worker killed"  # SIGKILL
    TERMINATE = "worker ended"  # SIGTERM
    STAND_STILL = "worker stood still"  # SIGSTOP for longer than the session, SIGCONT
    LOSE_FOLDER = "folder lost"
    DAMAGE_FOLDER = "folder damaged"  # bytes flipped in an SST or a MANIFEST
    CUT = "network cut"  # connections reset, and none let in
    SLOW_NETWORK = "network slow"
    HALF_OPEN = "network half open"  # what a worker sends arrives, what brokers answer does not, and nothing is closed
    FULL_DISK = "disk full"
    CLOCK_AHEAD = "clock two hours ahead"
    CLOCK_BEHIND = "clock two hours behind"
    KILL_BROKER = "broker killed"
    STALL_BROKER = "broker stood still"
    CHANGELOG_ANEW = "changelog created anew"  # deleted under the workers, and made again, empty
    NOT_JSON = "poison: not JSON"
    NESTED = "poison: nested brackets"
    WRONG_KEY = "poison: wrong key"
    HUGE = "poison: huge"
    FOREIGN = "poison: foreign in the changelog"


POISON = (Kind.NOT_JSON, Kind.NESTED, Kind.WRONG_KEY, Kind.HUGE, Kind.FOREIGN)
OF_WORKERS = (Kind.KILL, Kind.TERMINATE, Kind.STAND_STILL, Kind.LOSE_FOLDER, Kind.DAMAGE_FOLDER)
OF_NETWORK = (Kind.CUT, Kind.SLOW_NETWORK, Kind.HALF_OPEN)
OF_DISKS = (Kind.FULL_DISK,)
OF_CLOCKS = (Kind.CLOCK_AHEAD, Kind.CLOCK_BEHIND)
OF_BROKERS = (Kind.KILL_BROKER, Kind.STALL_BROKER, Kind.CHANGELOG_ANEW)
ALL = (*OF_WORKERS, *OF_NETWORK, *OF_DISKS, *OF_CLOCKS, *OF_BROKERS)  # in this order, whatever a machine allows
FIRST_S = 5.0  # workers are at work by then
EVERY_S = 10.0  # between two faults: long enough for most recoveries, not for all
POISON_EVERY_S = 20.0


@dataclass(frozen=True)
class Fault:
    """One fault."""

    at_s: float  # after the start of the load
    kind: Kind
    worker: int  # number of the worker that it happens to, from 0; means nothing for broker and poison
    lasts_s: float = 0.0  # until a worker, its network, disk or clock, or a broker, is as before

    @property
    def has_worker(self) -> bool:
        """Return whether it happens to one worker."""
        return self.kind not in OF_BROKERS and self.kind not in POISON


def plan_of(seed: int, seconds: float, workers: int, session_timeout_s: float, kinds: Collection[Kind]) -> list[Fault]:
    """Return the faults of a run by time; the same arguments give the same plan.

    ``kinds`` besides poison are dealt like cards, so that each comes before any comes again.
    """
    rng = random.Random(seed)
    cards = [kind for kind in ALL if kind in kinds]
    faults = [
        Fault(at_s, kind, rng.randrange(workers), _lasts_s(rng, kind, session_timeout_s))
        for at_s, kind in zip(_times(rng, FIRST_S, seconds, EVERY_S), _dealt(rng, cards), strict=False)
    ]
    for kind in POISON:
        faults += [Fault(at_s, kind, 0) for at_s in _times(rng, 0.0, seconds, POISON_EVERY_S)]
    return sorted(faults, key=lambda fault: fault.at_s)


def _times(rng: random.Random, first_s: float, seconds: float, every_s: float) -> list[float]:
    count = max(1, int((seconds - first_s) / every_s))
    return [round(first_s + (number + rng.random()) * every_s, 1) for number in range(count)]


def _dealt(rng: random.Random, kinds: Sequence[Kind], rounds: int = 1_000) -> list[Kind]:
    return [kind for _ in range(rounds) for kind in rng.sample(kinds, len(kinds))]


def _lasts_s(rng: random.Random, kind: Kind, session_timeout_s: float) -> float:
    if kind in (Kind.STAND_STILL, Kind.HALF_OPEN):
        return round(session_timeout_s * (1.3 + rng.random()), 1)
    if kind is Kind.CUT:
        return round(session_timeout_s * (0.2 + 2 * rng.random()), 1)  # shorter than a session, and longer
    if kind in (Kind.KILL_BROKER, Kind.STALL_BROKER, Kind.SLOW_NETWORK, *OF_DISKS, *OF_CLOCKS):
        return round(1 + 9 * rng.random(), 1)
    return 0.0


def told(faults: Sequence[Fault]) -> str:
    """Return the plan as people read it, a line a fault."""
    lines = []
    for fault in faults:
        whom = f" {fault.worker}" if fault.has_worker else ""
        lasts = f" for {fault.lasts_s:g} s" if fault.lasts_s else ""
        lines.append(f"{fault.at_s:7.1f} s  {fault.kind.value}{whom}{lasts}")
    return "\n".join(lines)
