"""One run: an empty broker, the load, the storm, the calm after it, and the ledger."""

import asyncio
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, sleep

from aiokafka.errors import KafkaError
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from chaos.ledger import (
    Ledger,
    count_answers,
    count_letters,
    count_log,
    count_states,
    expected_of,
    log_of,
    logged_of,
)
from chaos.load import Amount, Load
from chaos.plan import Fault, plan_of, told
from chaos.system import Fleet, Storm, running
from rankstream.features.stores.rocksdb import RocksStore, StoreRefusedError
from rankstream.streams.broker import LocalBroker
from rankstream.streams.topics import ACTIONS, CHANGELOG, REQUESTS
from rankstream.streams.worker.fence import brokers_fence
from tests.builders.bundle import a_bundle
from tests.kafka.harness import Bench

STEP_S, TELL_S, LOOK_S = 0.1, 5.0, 1.0
PATIENCE_S = 240.0  # for workers to do what is left after the storm
LIVE, LOGGED, RESTORED = "in the folders", "in the changelog", "restored from it"

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Trial:
    """What one run is made of."""

    seed: int
    workers: int
    amount: Amount

    def plan(self, session_timeout_s: float, with_broker: bool) -> list[Fault]:
        """Return its faults."""
        return plan_of(self.seed, self.amount.seconds, self.workers, session_timeout_s, with_broker)


def run(trial: Trial, bench: Bench, name: str, broker: LocalBroker | None, tell: Tell) -> Ledger:
    """Run it on the broker of ``bench``, which is killed by the plan where it is given; ``name`` is for the ledger."""
    started = monotonic()
    bench.settings = replace(bench.settings, bundle=a_bundle(bench.folder / "bundle"), chunk_size=2_000)
    bench.create_topics()
    ledger = Ledger(trial.seed, trial.workers, name, fenced=asyncio.run(brokers_fence(bench.settings)))
    if broker is not None:
        _hurry_compaction(bench)
    plan = trial.plan(bench.settings.session_timeout_s, broker is not None)
    tell(told(plan))
    with running(Fleet(bench.settings, trial.workers, bench.folder)) as fleet:
        load = Load(bench.settings, trial.seed, trial.amount)
        storm = Storm(plan, trial.seed, fleet, load, broker)
        _weather(storm, tell)
        ledger.uncommitted = _calm(bench, fleet, tell)
        fleet.end()
        ledger.hung, ledger.starts = fleet.hung, sum(slot.starts for slot in fleet.slots)
        ledger.ends = dict(fleet.ended)
        ledger.faults = {kind.value: times for kind, times in storm.happened.items()}
        ledger.failures = [f"{type(failure).__name__}: {failure}" for failure in load.failures[:3]]
        ledger.set_aside = _set_aside(bench, fleet, tell)
    _count(ledger, trial, bench, tell)
    ledger.seconds = monotonic() - started
    return ledger


def _hurry_compaction(bench: Bench) -> None:
    """Have the broker clean the changelog all the while, not once a day."""
    admin = KafkaAdminClient(bootstrap_servers=bench.settings.bootstrap_servers)
    config = {"segment.ms": "5000", "min.cleanable.dirty.ratio": "0.01"}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, bench.names.of(CHANGELOG), config)])
    admin.close()


def _weather(storm: Storm, tell: Tell) -> None:
    """Let load and faults happen, and tend the workers meanwhile."""
    storm.load.start()
    tell_at = 0.0
    while storm.load.is_alive() or not storm.is_over:
        for fault in storm.step():
            tell(told([replace(fault, at_s=monotonic() - storm.started_at)]))
        storm.fleet.tend(monotonic())
        at_s = monotonic() - storm.started_at
        if at_s >= tell_at:
            tell(f"{at_s:7.1f} s  {storm.load.actions:,} actions and {storm.load.requests:,} requests sent")
            tell_at = at_s + TELL_S
        sleep(STEP_S)


def _calm(bench: Bench, fleet: Fleet, tell: Tell) -> int:
    """Wait until all is done, and tend the workers meanwhile; return how many records are left."""
    tps = (ACTIONS, REQUESTS)
    wanted: int = sum(bounds.end for bounds in bench.bounds(*tps).values())
    done = 0
    deadline, look_at = monotonic() + PATIENCE_S, 0.0
    while done < wanted and monotonic() < deadline:
        fleet.tend(monotonic())
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
    """Start the workers once more, until they have restored what they lack."""
    fleet.start()
    fleet.wait_ready()
    sleep(2 * bench.settings.session_timeout_s)  # for partitions to be moved between them
    fleet.end()


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
    last = Fleet(bench.settings, 1, bench.folder / "last")
    (bench.folder / "last").mkdir()
    with running(last):
        last.wait_ready()
        sleep(2 * bench.settings.session_timeout_s)  # for partitions that are still those of workers that have ended
        last.end()
    states: dict[bytes, bytes] = bench.states("last/state-0")
    return states


def new_folder() -> Path:
    """Return a new folder for a run; it stays, as the logs of its workers tell what happened."""
    return Path(tempfile.mkdtemp(prefix=f"rankstream-chaos-{os.getpid()}-"))
