"""A rival's worker on a topic that is full: its rate by the clock and by its CPU time, as `worker.py` takes ours.

A rival is a module with a ``work`` that reads the topic from its start, keeps the last ``HISTORY`` actions of each user
in the rival's own store, and says so of each event by adding to ``Progress.applied``. It runs in a process of its own
on one core, the broker on another, and is killed at the end. The rate is from 10 % of the events to all of them.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time, sleep

from benchmarks.cores import pin
from benchmarks.figures import OF_CPU, OF_WALL, Figure, add_json, write_figures
from benchmarks.worker import BROKER_CORE, LIMIT_S, PARTITIONS, WORKER_CORE, fill, settings_for
from rankstream.streams.broker import EmbeddedBroker, RealKafka
from rankstream.streams.topics import ACTIONS

HISTORY = 100  # actions kept of a user, as ours


@dataclass(frozen=True)
class FullTopic:
    """What a rival reads."""

    servers: str
    name: str
    group: str
    partitions: int = PARTITIONS


class Progress:
    """How many events the rival has applied; it prints the rate at the last one, and ends the process."""

    def __init__(self, count: int) -> None:
        self.applied, self.count = 0, count
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        self._wait_for(self.count // 10)
        first, begun, begun_cpu = self.applied, perf_counter(), process_time()
        self._wait_for(self.count)
        took, took_cpu = perf_counter() - begun, process_time() - begun_cpu
        rates = f"RATE {(self.count - first) / took:.0f} {(self.count - first) / took_cpu:.0f}"
        print(f"\n{rates}", file=sys.__stdout__, flush=True)  # Faust takes what goes to sys.stdout for its log
        os._exit(0)

    def _wait_for(self, number: int) -> None:
        while self.applied < number:
            sleep(0.005)


Work = Callable[[FullTopic, Path, Progress], None]  # what to read, a folder for state, whom to tell


def measure(module: str, work: Work, title: str, events: int) -> None:
    """Be the rival's module: measure and print, or be the worker that is measured; ``events`` is the default."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--events", type=int, default=events)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kafka-home", type=Path)
    add_json(parser)
    parser.add_argument("--be-worker", nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.be_worker:
        servers, topic, folder, count = chosen.be_worker
        work(FullTopic(servers, topic, topic), Path(folder), Progress(int(count)))
        return
    with RealKafka(chosen.kafka_home) if chosen.kafka_home else EmbeddedBroker() as broker:
        if broker.process is not None and (os.cpu_count() or 1) > BROKER_CORE:
            pin(broker.process.pid, BROKER_CORE)
        servers = broker.bootstrap_servers
        rates = [_one_round(module, servers, chosen.events, f"bench{number}") for number in range(chosen.rounds)]
    walls, cpus = zip(*rates, strict=True)
    print(f"{title}, {'Apache Kafka' if chosen.kafka_home else 'embedded broker'}, {chosen.events:,} events:")
    print(f"  {median(walls):,.0f} events/s, {median(cpus):,.0f} a second of CPU; {chosen.rounds} rounds")
    write_figures(chosen.json, [Figure.of(title, OF_WALL, walls), Figure.of(title, OF_CPU, cpus)])


def _one_round(module: str, servers: str, count: int, name: str) -> tuple[float, float]:
    """Return events/s of wall and of CPU time, of a new topic and an empty state."""
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_for(servers, Path(folder), name, changelog=True)
        fill(settings, count)
        command = ["taskset", "-c", str(WORKER_CORE), sys.executable, "-m", module]
        flags = ["--be-worker", servers, settings.topic_prefix + ACTIONS.name, folder, str(count)]
        done = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("RATE"):
            wall, cpu = line.split()[1:]
            return float(wall), float(cpu)
    raise SystemExit(f"the rival ended without a rate: {(done.stdout + done.stderr)[-2000:]}")
