"""Two workers beside one: events a second of both, and how long actions wait while a worker comes or goes.

    python -m benchmarks.workers [--events 1000000] [--rate 2000] [--seconds 20] [--kafka-home DIR] [--json FILE]

First a topic is applied by one worker on core 0, then one like it by two, a core each. They have joined, and applied a
tenth of the events, before they are stopped, the rest is produced, and they go on: it is counted only from there, as a
join alone takes about a second of CPU. The broker shares those cores where there are no others, and is told of: by
"of CPU" two workers are compared by what they took themselves, which it does not change. Then ``--rate`` actions a
second come while a second worker joins and, later, ends: the pause is the longest time in which none was applied, and
beside it stands that of before.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from pathlib import Path
from time import monotonic, process_time, sleep
from typing import IO

from benchmarks.figures import OF_CPU, OF_WALL, TIMES, Figure, add_json, write_figures
from benchmarks.worker import BROKER_CORE, PARTITIONS, SESSION_S, WORKER_CORE, fill, send, settings_for, watched_owners
from benchmarks.workload import VOCABULARY, events
from rankstream.ranking.serving import LiveRanker
from rankstream.streams import app as worker_app
from rankstream.streams.broker import EmbeddedBroker, RealKafka
from rankstream.streams.clients.producer import RawProducer
from rankstream.streams.topics import ACTIONS

CORES = (WORKER_CORE, BROKER_CORE)
EVERY_S = 0.02  # that a worker says how many actions it has applied
LIMIT_S = 600.0
STOPPED_S = 60.0  # session of workers that are stopped while their events are produced
TICK_S = 0.01  # actions of a rate are sent so often


@dataclass(frozen=True)
class Said:
    """What a worker said at a moment."""

    at_s: float
    applied: int
    cpu_s: float
    partitions: int  # that it has opened


def work(servers: str, folder: Path, name: str, session_timeout_s: float) -> None:
    """Be a worker that says, again and again, how many actions it has applied since its start."""
    owners = watched_owners()
    settings = replace(settings_for(servers, folder, name, True), session_timeout_s=session_timeout_s)
    application = worker_app.create_app(settings, LiveRanker.without_bundle(VOCABULARY))

    def say() -> None:
        met = {}  # of each pipeline, also of partitions that were given up
        while True:
            with suppress(RuntimeError):  # the dictionary grew meanwhile
                met.update({id(one.pipeline): one.pipeline for owner in owners for one in owner.partitions.values()})
            counters = [pipeline.counters for pipeline in met.values()]
            applied = sum(one.actions + one.duplicates + one.too_old for one in counters)
            opened = sum(len(owner.partitions) for owner in owners)
            print(f"SAID {monotonic():.4f} {applied} {process_time():.4f} {opened}", flush=True)
            sleep(EVERY_S)

    threading.Thread(target=say, daemon=True).start()
    application.Worker(loglevel="WARNING").execute_from_commandline()


@dataclass
class Worker:
    """A worker's process, and all that it has said."""

    process: subprocess.Popen[str]
    said: list[Said] = field(default_factory=list)

    @property
    def applied(self) -> int:
        """Return how many actions it has applied."""
        return self.said[-1].applied if self.said else 0

    @property
    def partitions(self) -> int:
        """Return how many partitions it has opened."""
        return self.said[-1].partitions if self.said else 0

    def listen(self, lines: IO[str]) -> None:
        """Note what it says."""
        for line in lines:  # Faust prints, too
            if line.startswith("SAID "):
                at_s, applied, cpu_s, partitions = line.split()[1:]
                self.said.append(Said(float(at_s), int(applied), float(cpu_s), int(partitions)))


@contextmanager
def worker(servers: str, name: str, core: int, session_timeout_s: float = SESSION_S) -> Iterator[Worker]:
    """Run a worker on a core, with a state folder of its own."""
    words = ["taskset", "-c", str(core), sys.executable, "-m", "benchmarks.workers", "--be", servers, name]
    with tempfile.TemporaryDirectory() as folder:
        words += [folder, str(session_timeout_s)]
        begun = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        one = Worker(begun)
        assert begun.stdout is not None
        threading.Thread(target=one.listen, args=(begun.stdout,), daemon=True).start()
        try:
            yield one
        finally:
            begun.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                begun.wait(60)
            begun.kill()
            begun.wait()


def wait_until(done: Callable[[], bool], workers: Sequence[Worker], what: str) -> None:
    """Wait until something is so. Raises ``SystemExit`` if a worker ends before it, or it takes too long."""
    deadline = monotonic() + LIMIT_S
    while not done():
        if monotonic() > deadline or any(one.process.poll() is not None for one in workers):
            raise SystemExit(f"{what}: not so, the workers applied {sum(one.applied for one in workers):,} actions")
        sleep(EVERY_S)


def wait_until_applied(workers: Sequence[Worker], count: int) -> None:
    """Wait until they have applied so many together."""
    wait_until(lambda: sum(one.applied for one in workers) >= count, workers, f"{count:,} actions are applied")


@contextmanager
def stopped(workers: Sequence[Worker]) -> Iterator[None]:
    """Let them do nothing meanwhile, and stay in their group."""
    for one in workers:
        one.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for one in workers:
            one.process.send_signal(signal.SIGCONT)


def rates_between(first: Sequence[Said], last: Sequence[Said], begun_s: float) -> tuple[float, float]:
    """Return events a second of the clock since ``begun_s``, and of the CPU of the workers that said this."""
    applied = sum(after.applied - before.applied for before, after in zip(first, last, strict=True))
    cpu_s = sum(after.cpu_s - before.cpu_s for before, after in zip(first, last, strict=True))
    return applied / (max(one.at_s for one in last) - begun_s), applied / cpu_s


def rate_of(servers: str, name: str, number: int, count: int) -> tuple[float, float]:
    """Return events a second of the clock, and of the CPU of so many workers, once all have joined and are warm."""
    settings, to_come = settings_for(servers, Path(tempfile.gettempdir()), name, True), events(count)
    fill(settings, 0)
    with ExitStack() as running:
        workers = [running.enter_context(worker(servers, name, CORES[at], STOPPED_S)) for at in range(number)]
        share = PARTITIONS // number
        wait_until(lambda: all(one.partitions == share for one in workers), workers, f"each has {share} partitions")
        send(settings, islice(to_come, count // 10))
        wait_until_applied(workers, count // 10)
        with stopped(workers):
            send(settings, to_come)
            first, begun_s = [one.said[-1] for one in workers], monotonic()
        if begun_s - first[0].at_s > STOPPED_S / 2:
            raise SystemExit(
                f"workers stood still for too long to stay in their group: take fewer than {count:,} events"
            )
        wait_until_applied(workers, count)
        return rates_between(first, [one.said[-1] for one in workers], begun_s)


def longest_pause(workers: Sequence[Worker], begin_s: float, end_s: float) -> float:
    """Return the longest time within a span in which no worker applied any action."""
    grew = [
        later.at_s
        for one in workers
        for earlier, later in pairwise(one.said.copy())
        if later.applied > earlier.applied and begin_s <= later.at_s <= end_s
    ]
    return max(later - earlier for earlier, later in pairwise([begin_s, *sorted(grew), end_s]))


def pauses_of(servers: str, name: str, rate: int, seconds: float) -> dict[str, float]:
    """Return the longest pause before, while a second worker joins, and while it ends."""
    settings = settings_for(servers, Path(tempfile.gettempdir()), name, True)
    fill(settings, 1_000)
    topic, ended, found = settings.topic_prefix + ACTIONS.name, threading.Event(), {}

    def send() -> None:
        with RawProducer(settings, [topic]) as producer:
            for number, event in enumerate(events(int(rate * (4 * seconds + LIMIT_S)), seed=1)):
                if number % max(1, int(rate * TICK_S)) == 0 and ended.wait(TICK_S):
                    return
                producer.send(topic, event.key, event.value)

    with worker(servers, name, CORES[0]) as first:
        wait_until_applied([first], 1_000)
        sender = threading.Thread(target=send)
        sender.start()
        try:
            wait_until_applied([first], 1_000 + rate)
            marks = [monotonic()]
            sleep(seconds)
            marks.append(monotonic())
            with worker(servers, name, CORES[1]) as second:
                sleep(seconds)
                marks.append(monotonic())
            sleep(seconds)
            marks.append(monotonic())
        finally:
            ended.set()
            sender.join()
        for what, (begin_s, end_s) in zip(("before", "a worker joins", "it ends"), pairwise(marks), strict=True):
            found[what] = longest_pause([first, second], begin_s, end_s)
    return found


def main() -> None:
    """Print the rates of one and of two, and the pauses; or be a worker."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--rate", type=int, default=2_000)
    options.add_argument("--seconds", type=float, default=20.0)
    options.add_argument("--kafka-home", type=Path)
    add_json(options)
    options.add_argument("--be", nargs=4, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.be:
        servers, name, folder, session_timeout_s = chosen.be
        work(servers, Path(folder), name, float(session_timeout_s))
        return
    with RealKafka(chosen.kafka_home) if chosen.kafka_home else EmbeddedBroker() as broker:
        servers, rates, pauses = broker.bootstrap_servers, [], []
        for one in range(chosen.rounds):
            rates.append([rate_of(servers, f"rate{one}-{number}", number, chosen.events) for number in (1, 2)])
            pauses.append(pauses_of(servers, f"pause{one}", chosen.rate, chosen.seconds))
    figures = []
    for at, unit in enumerate((OF_WALL, OF_CPU)):
        figures += [Figure.of(f"{n + 1} workers", unit, (each[n][at] for each in rates)) for n in range(2)]
        figures.append(Figure.of(f"two to one, {unit}", TIMES, (two[at] / single[at] for single, two in rates)))
    figures += [Figure.of(f"longest pause, {what}", "s", (each[what] for each in pauses)) for what in pauses[0]]
    for one in figures:
        print(f"{one.name:36} {one.median:12,.2f} {one.unit} ({one.low:,.2f} to {one.high:,.2f})")
    write_figures(chosen.json, figures)


if __name__ == "__main__":
    main()
