"""What transactions cost a worker: events a second, latency of requests, recovery after a kill, with them and without.

    python -m benchmarks.fencing --kafka-home DIR [--events 500000] [--rounds 3]

The kinds take turns on one broker, so the ratio is of one run; what else the machine does hits all. "Without" is how a
worker works with brokers that know no transactions, "feeds" is with ``feed_delivery = transactional``. The rates are
those of ``benchmarks.worker``. Requests are sent at a steady rate beside actions, and the latency is from sending one
to reading its feed. Recovery is from the start of a worker that was killed to its first feed: its name is static, so it
waits for no session.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, sleep

import msgspec
from kafka import KafkaConsumer

from benchmarks import worker as worker_benchmark
from benchmarks.cores import pin
from benchmarks.workload import VOCABULARY, events
from rankstream.features.ids import id_bytes
from rankstream.ranking.request import RankingRequest
from rankstream.ranking.serving import LiveRanker
from rankstream.streams import app as worker_app
from rankstream.streams.broker import RealKafka
from rankstream.streams.clients.producer import RawProducer
from rankstream.streams.codec import RankedFeed
from rankstream.streams.connection import READ_COMMITTED
from rankstream.streams.settings import AT_ONCE, TRANSACTIONAL, Settings
from rankstream.streams.topics import ACTIONS, FEEDS, REQUESTS, prepare_topics
from rankstream.streams.worker import runtime as worker_runtime

REQUESTS_SENT, REQUESTS_PER_S, ACTIONS_PER_REQUEST = 1_000, 50, 20
USERS = 200  # who ask
PATIENCE_S = 60.0
WITHOUT, WITH, FEEDS_TOO = KINDS = ("without", "with", "feeds")


async def no_fencing(settings: Settings) -> bool:
    """Answer as for brokers that know no transactions."""
    return False


def be_worker(kind: str, servers: str, folder: str, name: str, events_to_come: int) -> None:
    """Be a worker of a kind: for a rate if events are to come, else until it is killed."""
    if kind == WITHOUT:
        worker_runtime.brokers_fence = no_fencing
    settings = replace(
        settings_of(servers, Path(folder), name), feed_delivery=TRANSACTIONAL if kind == FEEDS_TOO else AT_ONCE
    )
    if events_to_come:
        worker_benchmark.work(settings, events_to_come)
    application = worker_app.create_app(settings, LiveRanker.without_bundle(VOCABULARY))
    application.Worker(loglevel="WARNING").execute_from_commandline()


def settings_of(servers: str, folder: Path, name: str) -> Settings:
    """Return the settings of a worker with a static name."""
    return replace(worker_benchmark.settings_for(servers, folder, name, changelog=True), group_instance_id=name)


def started(kind: str, settings: Settings, events_to_come: int = 0) -> subprocess.Popen[str]:
    """Start a worker process on a core of its own."""
    core = ["taskset", "-c", str(worker_benchmark.WORKER_CORE)]
    flags = [kind, settings.bootstrap_servers, str(settings.state_dir), settings.app_id, str(events_to_come)]
    command = [*core, sys.executable, "-m", "benchmarks.fencing", "--be-worker", *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def rates(kind: str, settings: Settings, number: int) -> tuple[float, float]:
    """Return events/s of a worker that reads a full topic, and events a second of its CPU time."""
    worker_benchmark.fill(settings, number)
    output, _ = started(kind, settings, number).communicate(timeout=300)
    wall, cpu = output.split()[1:]
    return float(wall), float(cpu)


class Requests:
    """Requests sent to a worker, and the feeds that come back."""

    def __init__(self, settings: Settings) -> None:
        asyncio.run(prepare_topics(settings))
        self.topics = {topic: settings.topic_prefix + topic.name for topic in (ACTIONS, REQUESTS, FEEDS)}
        self.producer = RawProducer(settings, list(self.topics.values()))
        self.feeds = KafkaConsumer(
            self.topics[FEEDS],
            bootstrap_servers=settings.bootstrap_servers.split(","),
            isolation_level=READ_COMMITTED,
        )
        self.feeds.poll(timeout_ms=2_000)
        self.numbers = count()
        self.sent_at: dict[str, float] = {}
        self.latencies: dict[str, float] = {}

    def send(self) -> str:
        """Send one request and return its id."""
        number = next(self.numbers)
        request = RankingRequest(f"r{number}", f"u{number % USERS}", candidates=tuple(range(100)))
        self.sent_at[request.request_id] = perf_counter()
        self.producer.send(self.topics[REQUESTS], id_bytes(request.user_id), msgspec.json.encode(request))
        return request.request_id

    def wait_for(self, wanted: int) -> None:
        """Read feeds until so many requests are answered."""
        deadline = perf_counter() + PATIENCE_S
        while len(self.latencies) < wanted:
            if perf_counter() > deadline:
                raise SystemExit(f"{len(self.latencies)} of {wanted} requests were answered in {PATIENCE_S:g} s")
            for records in self.feeds.poll(timeout_ms=20).values():
                for record in records:
                    name = msgspec.json.decode(record.value, type=RankedFeed).request_id
                    self.latencies.setdefault(name, perf_counter() - self.sent_at[name])

    def send_steadily(self) -> None:
        """Send requests at a steady rate, and actions beside them."""
        actions, begun = events(REQUESTS_SENT * ACTIONS_PER_REQUEST), perf_counter()
        for number in range(REQUESTS_SENT):
            sleep(max(0.0, begun + number / REQUESTS_PER_S - perf_counter()))
            for _ in range(ACTIONS_PER_REQUEST):
                action = next(actions)
                self.producer.send(self.topics[ACTIONS], action.key, action.value)
            self.send()


@contextmanager
def killed_at_the_end(process: "subprocess.Popen[str]") -> Iterator[None]:
    """Kill the process when the block ends."""
    try:
        yield
    finally:
        process.kill()
        process.wait()


def latency_and_recovery(kind: str, settings: Settings) -> tuple[float, float, float]:
    """Return the median and the 99th percentile of latencies in ms, and the seconds until a killed worker answers."""
    requests = Requests(settings)
    with killed_at_the_end(started(kind, settings)):
        requests.send()
        requests.wait_for(1)
        sending = threading.Thread(target=requests.send_steadily)
        sending.start()
        requests.wait_for(1 + REQUESTS_SENT)
        sending.join()
    steady = [1_000 * requests.latencies[f"r{number}"] for number in range(1, 1 + REQUESTS_SENT)]
    asked, begun = requests.send(), perf_counter()
    with killed_at_the_end(started(kind, settings)):
        requests.wait_for(2 + REQUESTS_SENT)
        recovery = requests.sent_at[asked] + requests.latencies[asked] - begun
    requests.producer.close()
    requests.feeds.close()
    return median(steady), quantiles(steady, n=100)[-1], recovery


def main() -> None:
    """Measure the kinds in turns and print them, or be the worker that is measured."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=500_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--kafka-home", type=Path)
    options.add_argument("--be-worker", nargs=5, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.be_worker:
        kind, servers, folder, name, number = chosen.be_worker
        be_worker(kind, servers, folder, name, int(number))
        return
    found: dict[str, list[tuple[float, ...]]] = {kind: [] for kind in KINDS}
    with RealKafka(chosen.kafka_home) as broker, tempfile.TemporaryDirectory() as folder:
        if broker.process is not None:
            pin(broker.process.pid, worker_benchmark.BROKER_CORE)
        for number in range(chosen.rounds):
            for kind in KINDS if number % 2 else reversed(KINDS):
                names = [f"{kind}-{what}-{number}" for what in ("rate", "latency")]
                one, two = (settings_of(broker.bootstrap_servers, Path(folder) / name, name) for name in names)
                found[kind].append((*rates(kind, one, chosen.events), *latency_and_recovery(kind, two)))
    show(found)


def show(found: dict[str, list[tuple[float, ...]]]) -> None:
    """Print the medians, their ratios to that without, and the rounds."""
    titles = ("events/s", "events a second of CPU", "latency ms, median", "latency ms, p99", "recovery s")
    for at, title in enumerate(titles):
        values = {kind: [each[at] for each in rounds] for kind, rounds in found.items()}
        print(title)
        for kind in KINDS:
            ratio = median(values[kind]) / median(values[WITHOUT])
            each = ", ".join(f"{one:,.1f}" for one in values[kind])
            print(f"  {kind:8} {median(values[kind]):>10,.1f}  ratio {ratio:.2f}  (rounds: {each})")


if __name__ == "__main__":
    main()
