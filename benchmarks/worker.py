"""Events a second of a whole worker: Kafka in, state and changelog out, one core for the worker, one for the broker.

    python -m benchmarks.worker [--events 1000000] [--kafka-home DIR] [--no-changelog] [--rounds 3] [--engine plain]
        [--json FILE]

The topic is filled first. The rate is taken inside the worker, from 10 % of the events applied to all of them, so that
neither start nor group join counts. Without ``--kafka-home`` the broker is the embedded one.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from statistics import median
from time import perf_counter, process_time, sleep

from benchmarks.cores import pin
from benchmarks.figures import OF_CPU, OF_WALL, Figure, add_json, write_figures
from benchmarks.workload import VOCABULARY, Event, events
from rankstream.ranking.serving import LiveRanker
from rankstream.streams import app as worker_app
from rankstream.streams.broker import EmbeddedBroker, RealKafka
from rankstream.streams.clients.producer import RawProducer
from rankstream.streams.clients.whole_batches import WholeBatches
from rankstream.streams.settings import ENGINES, Settings
from rankstream.streams.topics import ACTIONS, prepare_topics
from rankstream.streams.worker import runtime as worker_runtime
from rankstream.streams.worker.ownership import Ownership

PARTITIONS = 4
SESSION_S = 6.0
WORKER_CORE, BROKER_CORE = 0, 1
LIMIT_S = 600.0  # of a round; minutes only on a busy machine


def settings_for(servers: str, folder: Path, name: str, changelog: bool, engine: str = "auto") -> Settings:
    """Return the settings of one round."""
    return Settings(
        bootstrap_servers=servers,
        app_id=name,
        topic_prefix=f"{name}-",
        partitions=PARTITIONS,
        state_dir=folder,
        changelog=changelog,
        engine=engine,
        session_timeout_s=SESSION_S,
        heartbeat_interval_s=1.0,
    )


def watched_owners() -> list[Ownership]:
    """Return a list that what owns the partitions of a worker of this process will be in, once there is one."""
    owners: list[Ownership] = []

    class Watched(Ownership):
        def __init__(self, *args: object) -> None:
            super().__init__(*args)  # type: ignore[arg-type]
            owners.append(self)

    worker_runtime.Ownership = Watched  # type: ignore[misc]
    return owners


def work(settings: Settings, count: int) -> None:
    """Be the worker: print the rate once all events are applied, and end."""
    owners = watched_owners()
    application = worker_app.create_app(settings, LiveRanker.without_bundle(VOCABULARY))

    def applied() -> int:
        with suppress(RuntimeError):  # the dictionary grew meanwhile
            every = [one.pipeline.counters for owner in owners for one in owner.partitions.values()]
            return sum(one.actions + one.duplicates + one.too_old for one in every)
        return 0

    def watch() -> None:
        while applied() < count // 10:
            sleep(0.005)
        first, begun, begun_cpu = applied(), perf_counter(), process_time()
        while applied() < count:
            sleep(0.005)
        took, took_cpu = perf_counter() - begun, process_time() - begun_cpu
        print(f"RATE {(count - first) / took:.0f} {(count - first) / took_cpu:.0f}", flush=True)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    application.Worker(loglevel="WARNING").execute_from_commandline()


def fill(settings: Settings, count: int) -> None:
    """Create the topics of a round and produce its events."""
    asyncio.run(prepare_topics(settings))
    send(settings, events(count))


def send(settings: Settings, to_come: Iterable[Event]) -> None:
    """Produce events to the topic of a round."""
    topic = settings.topic_prefix + ACTIONS.name
    with RawProducer(settings, [topic], WholeBatches) as producer:
        for event in to_come:
            producer.send(topic, event.key, event.value)


def one_round(servers: str, count: int, changelog: bool, name: str, engine: str) -> tuple[float, float]:
    """Run a worker from an empty state to the end of a new topic; return events/s of wall and of CPU time."""
    fill(settings_for(servers, Path(tempfile.mkdtemp()), name, changelog), count)
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--be-worker", servers, folder, name, str(count), "--engine", engine]
        flags += [] if changelog else ["--no-changelog"]
        command = ["taskset", "-c", str(WORKER_CORE), sys.executable, "-m", "benchmarks.worker", *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        for line in done.stdout.splitlines():
            if line.startswith("RATE"):
                wall, cpu = line.split()[1:]
                return float(wall), float(cpu)
        raise SystemExit(f"the worker ended without a rate: {(done.stdout + done.stderr)[-2000:]}")


def main() -> None:
    """Measure and print, or be the worker that is measured."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--kafka-home", type=Path)
    options.add_argument("--no-changelog", action="store_true")
    options.add_argument("--engine", choices=ENGINES, default="auto")
    add_json(options)
    options.add_argument("--be-worker", nargs=4, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.be_worker:
        servers, folder, name, count = chosen.be_worker
        work(settings_for(servers, Path(folder), name, not chosen.no_changelog, chosen.engine), int(count))
        return
    broker = RealKafka(chosen.kafka_home) if chosen.kafka_home else EmbeddedBroker()
    with broker:
        if broker.process is not None:
            pin(broker.process.pid, BROKER_CORE)
        servers, changelog = broker.bootstrap_servers, not chosen.no_changelog
        rates = [
            one_round(servers, chosen.events, changelog, f"bench{number}", chosen.engine)
            for number in range(chosen.rounds)
        ]
    walls, cpus = zip(*rates, strict=True)
    by_unit = {OF_WALL: walls, OF_CPU: cpus}
    name = "Apache Kafka" if chosen.kafka_home else "embedded broker"
    print(
        f"{name}, {chosen.events:,} events, changelog {'off' if chosen.no_changelog else 'on'}, engine {chosen.engine}:"
    )
    each = ", ".join(f"{wall:,.0f}" for wall in walls)
    print(f"  {median(walls):,.0f} events/s, {median(cpus):,.0f} a second of CPU (rounds: {each})")
    write_figures(chosen.json, [Figure.of(f"engine {chosen.engine}", unit, each) for unit, each in by_unit.items()])


if __name__ == "__main__":
    main()
