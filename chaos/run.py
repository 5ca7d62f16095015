"""One run: an empty broker, the load, the storm, the calm after it, and the ledger."""

import asyncio
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, sleep

from aiokafka.errors import KafkaError

from chaos import disks
from chaos.ledger import (
    Ledger,
    answers_of,
    count_answers,
    count_letters,
    count_log,
    count_states,
    expected_of,
    log_of,
    logged_of,
)
from chaos.load import Amount, Load
from chaos.plan import Fault, Kind, plan_of, told
from chaos.storm import Storm
from chaos.system import Fleet, running
from chaos.timeline import Timeline, looking
from chaos.topics import hurry_compaction
from chaos.world import World
from rankstream.features.stores.base import StoreRefusedError
from rankstream.features.stores.rocksdb import RocksStore
from rankstream.streams.pipeline import wall_clock_ms
from rankstream.streams.topics import ACTIONS, REQUESTS
from rankstream.streams.worker.fence import brokers_fence
from tests.builders.bundle import a_bundle
from tests.kafka.harness import Bench

STEP_S, TELL_S, LOOK_S = 0.1, 5.0, 1.0
PATIENCE_S = 240.0  # for workers to do what is left after the storm
RESTORE_S = 90.0
LIVE, LOGGED, RESTORED = "in the folders", "in the changelog", "restored from it"

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Trial:
    """What one run is made of."""

    seed: int
    workers: int
    amount: Amount

    def plan(self, session_timeout_s: float, kinds: Sequence[Kind]) -> list[Fault]:
        """Return its faults, of these kinds and poison."""
        return plan_of(self.seed, self.amount.seconds, self.workers, session_timeout_s, kinds)


def run(trial: Trial, bench: Bench, world: World, tell: Tell) -> tuple[Ledger, Timeline]:
    """Run it in a world that ``bench`` is connected to."""
    started = monotonic()
    bench.settings = replace(bench.settings, bundle=a_bundle(bench.folder / "bundle"), chunk_size=2_000)
    bench.create_topics()
    ledger = Ledger(trial.seed, trial.workers, world.name, fenced=asyncio.run(brokers_fence(bench.settings)))
    if world.broker is not None:
        hurry_compaction(bench.settings)
    plan = trial.plan(bench.settings.session_timeout_s, world.kinds)
    tell(told(plan))
    with running(_fleet(trial, bench, world)) as fleet:
        storm = Storm(plan, trial.seed, fleet, Load(bench.settings, trial.seed, trial.amount), world.broker)
        started_ms = wall_clock_ms()
        timeline = _through(storm, ledger, bench, tell)
        ledger.set_aside = fleet.moved_away + _set_aside(bench, fleet, tell)
    _count(ledger, trial, bench, tell)
    timeline.answers = answers_of(bench, started_ms)
    ledger.seconds = monotonic() - started
    return ledger, timeline


def _fleet(trial: Trial, bench: Bench, world: World) -> Fleet:
    folders = [bench.folder / f"state-{number}" for number in range(trial.workers)]
    if world.with_disks:
        for folder in folders:
            disks.mount(folder)
    return Fleet(bench.settings, folders, bench.folder, world.lines, world.clocks(bench.folder, trial.workers))


def _through(storm: Storm, ledger: Ledger, bench: Bench, tell: Tell) -> Timeline:
    """Let load and faults happen, wait until all is done, and end the workers; return what happened when."""
    timeline, fleet, load = Timeline(), storm.fleet, storm.load
    with looking(bench.settings, timeline, load, storm.started_at):
        _weather(storm, timeline, tell)
        ledger.uncommitted = _calm(bench, storm, timeline, tell)
    fleet.end()
    timeline.see(storm.now_s, storm.conditions)
    timeline.faults = storm.history
    ledger.hung, ledger.starts = fleet.hung, sum(slot.starts for slot in fleet.slots)
    ledger.ends = dict(fleet.ended)
    ledger.faults = {kind.value: times for kind, times in storm.happened.items()}
    ledger.failures = [f"{type(one).__name__}: {one}" for one in [*load.failures[:3], *storm.failures]]
    return timeline


def _weather(storm: Storm, timeline: Timeline, tell: Tell) -> None:
    """Let load and faults happen, and tend the workers meanwhile."""
    storm.load.start()
    tell_at = 0.0
    while storm.load.is_alive() or not storm.is_over:
        for fault in storm.step():
            tell(told([fault]))
        storm.fleet.tend(monotonic())
        timeline.see(storm.now_s, storm.conditions)
        if storm.now_s >= tell_at:
            tell(f"{storm.now_s:7.1f} s  {storm.load.actions:,} actions and {storm.load.requests:,} requests sent")
            tell_at = storm.now_s + TELL_S
        sleep(STEP_S)


def _calm(bench: Bench, storm: Storm, timeline: Timeline, tell: Tell) -> int:
    """Wait until all is done, and tend the workers meanwhile; return how many records are left."""
    tps = (ACTIONS, REQUESTS)
    wanted: int = sum(bounds.end for bounds in bench.bounds(*tps).values())
    done = 0
    deadline, look_at = monotonic() + PATIENCE_S, 0.0
    while done < wanted and monotonic() < deadline:
        storm.fleet.tend(monotonic())
        timeline.see(storm.now_s, storm.conditions)
        if monotonic() >= look_at:
            with suppress(KafkaError, TimeoutError):
                done = bench.committed(*tps)
            tell(f"          {done:,} of {wanted:,} records done")
            look_at = monotonic() + LOOK_S
        sleep(STEP_S)
    return wanted - done


def _set_aside(bench: Bench, fleet: Fleet, tell: Tell) -> int:
    """Move databases away that can't be read, as workers would that came across the damage; return how many.

    What workers do not read they do not miss: it is restored before it is compared.
    """
    count = 0
    for slot in fleet.slots:
        for folder in sorted((slot.settings.state_dir / bench.settings.app_id).glob("*-[0-9]")):
            if not _is_readable(folder):
                tell(f"          {folder} can't be read to its end; it is moved away and restored")
                folder.rename(folder.with_name(f"{folder.name}.aside"))
                count += 1
    if count:
        _restore_all(bench, fleet)
    return count


def _is_readable(folder: Path) -> bool:
    try:
        store = RocksStore(folder, wait_s=5)
    except StoreRefusedError:
        return False
    try:
        return sum(1 for _ in store.items()) >= 0
    except Exception:  # rocksdict raises nothing narrower
        return False
    finally:
        store.close()


def _restore_all(bench: Bench, fleet: Fleet) -> None:
    """Start workers until their folders hold all partitions, as far as the log goes.

    One start may be too few: to the group, workers that were killed have their partitions for another session.
    """
    ends = {tp.partition: found.end for tp, found in bench.bounds(ACTIONS).items()}
    deadline = monotonic() + RESTORE_S
    while monotonic() < deadline:
        fleet.start()
        fleet.wait_ready()
        fleet.end()
        reached = [_positions(bench, slot.settings.state_dir) for slot in fleet.slots]
        if all(max(one.get(number, 0) for one in reached) >= end for number, end in ends.items()):
            return


def _positions(bench: Bench, state_dir: Path) -> dict[int, int]:
    """Return up to where the folders of a worker hold each partition's actions."""
    positions = {}
    for number in range(bench.settings.partitions):
        folder = state_dir / bench.settings.app_id / f"{bench.names.of(ACTIONS)}-{number}"
        if folder.exists():
            store = RocksStore(folder, wait_s=5)
            positions[number] = store.next_offset or 0
            store.close()
    return positions


def _count(ledger: Ledger, trial: Trial, bench: Bench, tell: Tell) -> None:
    """Read everything, and compare it."""
    tell("          reading the log and the states, for a minute or two")
    log = log_of(bench)
    count_log(ledger, log, trial.amount.actions)
    expected = expected_of(log, bench.settings.history_limit)
    folders = [f"state-{number}" for number in range(trial.workers)]
    count_states(ledger, LIVE, expected, bench.states(*folders))
    count_states(ledger, LOGGED, expected, logged_of(ledger, bench))
    count_states(ledger, RESTORED, expected, _restored(bench))
    count_letters(ledger, bench, log)
    count_answers(ledger, bench)


def _restored(bench: Bench) -> dict[bytes, bytes]:
    """Return the states that a worker makes of the changelog alone."""
    last = Fleet(bench.settings, [bench.folder / "last"], bench.folder)
    try:
        _restore_all(bench, last)
    finally:
        last.kill()
    states: dict[bytes, bytes] = bench.states("last")
    return states


def new_folder() -> Path:
    """Return a new folder for a run; it stays, as the logs of its workers tell what happened."""
    return Path(tempfile.mkdtemp(prefix=f"rankstream-chaos-{os.getpid()}-"))
