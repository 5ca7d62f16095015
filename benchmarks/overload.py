"""What a worker does when it is asked for several times what it can rank: latencies, ranked or by popularity.

    python -m benchmarks.overload --bundle DIR [--kafka-home DIR] [--times 5] [--seconds 30] [--within-ms 500]

First the capacity, with as many requests under way as keep the worker busy; then so many times as many, evenly spread,
beside a stream of actions; then one request each tenth of a second. The worker has one core, the broker and this
process the other. Without ``--kafka-home`` the broker is the embedded one.
"""

import argparse
import asyncio
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import monotonic, sleep, time_ns
from typing import Any

import msgspec
import numpy as np

from rankstream.cli.worker_process import WorkerProcess, worker_flags
from rankstream.events.action_event import ActionEvent
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.request import RankingRequest
from rankstream.streams.broker import EmbeddedBroker, RealKafka
from rankstream.streams.clients.producer import Producer
from rankstream.streams.clients.readers import TopicReader
from rankstream.streams.settings import Settings
from rankstream.streams.topics import FEEDS, prepare_topics

CANDIDATES, TOP_K, USERS = 256, 50, 2_000
ACTIONS_PER_S = 500
UNDER_WAY = 16  # requests, while the capacity is measured
CAPACITY_S, AFTER_S = 10.0, 5.0
WORKER_CORE, OTHER_CORE = 0, 1
IN_TIME_MS = 300.0


class Answer(msgspec.Struct):
    """What is looked at in a feed."""

    request_id: str
    fallback: str | None = None
    error: dict[str, Any] | None = None


@dataclass
class Traffic:
    """Requests that were sent, and when which kind of answer came."""

    producer: Producer
    reader: TopicReader
    items: list[int | str]
    users: int = USERS
    candidates: int = CANDIDATES
    sent_at_s: dict[str, float] = field(default_factory=dict)
    answers: dict[str, tuple[float, str]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)
    _rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    _ended: bool = False

    def read(self) -> None:
        """Note answers as they come, until the end."""
        decode = msgspec.json.Decoder(Answer).decode
        while not self._ended:
            for record in self.reader.poll(0.02):
                answer = decode(record.value or b"")
                kind = "error" if answer.error else "fallback" if answer.fallback else "ranked"
                self.answers.setdefault(answer.request_id, (monotonic(), kind))

    def end(self) -> None:
        """Stop reading."""
        self._ended = True

    def ask(self, phase: str) -> str:
        """Send one request."""
        name = f"{phase}{next(self._numbers)}"
        first = int(self._rng.integers(len(self.items) - self.candidates))
        candidates = tuple(self.items[first : first + self.candidates])
        request = RankingRequest(name, f"u{self._rng.integers(self.users)}", candidates=candidates, top_k=TOP_K)
        self.sent_at_s[name] = monotonic()
        self.producer.send_request(request)
        return name

    def act(self, action: str) -> None:
        """Send one action."""
        item = self.items[int(self._rng.integers(len(self.items)))]
        self.producer.send_action(
            ActionEvent(f"u{self._rng.integers(self.users)}", item, action, time_ns() // 1_000_000)
        )

    def open_requests(self) -> int:
        """Return how many are under way."""
        return len(self.sent_at_s) - len(self.answers)

    def told(self, phase: str, seconds: float) -> str:
        """Return a line about a phase."""
        names = [name for name in self.sent_at_s if name.startswith(phase)]
        parts = [f"{len(names):,} requests ({len(names) / seconds:,.0f}/s)"]
        for kind in ("ranked", "fallback", "error"):
            took = [1e3 * (self.answers[name][0] - self.sent_at_s[name]) for name in names if self._is(name, kind)]
            if took:
                p50, p99, most = np.percentile(took, [50, 99, 100])
                in_time = np.mean(np.array(took) <= IN_TIME_MS)
                parts.append(
                    f"{kind} {len(took):,} ({len(took) / seconds:,.1f}/s, {in_time:.1%} within {IN_TIME_MS:.0f} ms, "
                    f"p50 {p50:,.0f}, p99 {p99:,.0f}, most {most:,.0f} ms)"
                )
        unanswered = sum(name not in self.answers for name in names)
        return "; ".join([*parts, f"{unanswered} unanswered"])

    def _is(self, name: str, kind: str) -> bool:
        return name in self.answers and self.answers[name][1] == kind


def capacity(traffic: Traffic) -> float:
    """Keep the worker busy for a while; return how many it ranks a second."""
    until, begun = monotonic() + 1.3 * CAPACITY_S, monotonic() + 0.3 * CAPACITY_S
    while monotonic() < until:
        while traffic.open_requests() < UNDER_WAY:
            traffic.ask("c")
        sleep(0.002)
    ranked = [at for at, kind in traffic.answers.values() if kind == "ranked" and begun <= at < until]
    return len(ranked) / CAPACITY_S


def flood(traffic: Traffic, per_s: float, seconds: float, action: str) -> None:
    """Send so many requests a second, and actions beside them."""
    begun, asked, acted = monotonic(), 0, 0
    while (now := monotonic() - begun) < seconds:
        for _ in range(int(now * per_s) - asked):
            traffic.ask("o")
            asked += 1
        for _ in range(int(now * ACTIONS_PER_S) - acted):
            traffic.act(action)
            acted += 1
        sleep(0.002)


def memory_mb(process: int) -> float:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def served(
    settings: Settings, bundle: Path, folder: Path, candidates: int = CANDIDATES
) -> Iterator[tuple[Traffic, WorkerProcess, str]]:
    """Start a worker on a core of its own and wait for its first answer; yield it, with an action of its vocabulary."""
    opened = open_bundle(bundle)
    asyncio.run(prepare_topics(settings))
    worker = WorkerProcess(worker_flags(settings), folder / "worker.log")
    with Producer(settings) as producer, TopicReader(settings, FEEDS, from_beginning=True) as reader:
        traffic = Traffic(producer, reader, opened.items.ids(np.arange(len(opened.items))), candidates=candidates)
        worker.start()
        with worker:
            assert worker.process is not None
            os.sched_setaffinity(worker.process.pid, {WORKER_CORE})
            reading = threading.Thread(target=traffic.read, daemon=True)
            reading.start()
            try:
                first = traffic.ask("w")
                while first not in traffic.answers:
                    worker.check()
                    sleep(0.02)
                yield traffic, worker, opened.manifest.vocabulary.actions[0]
            finally:
                traffic.end()
                reading.join()


def measure(settings: Settings, bundle: Path, times: float, seconds: float, folder: Path) -> None:
    """Run the phases and print a line of each."""
    with served(settings, bundle, folder) as (traffic, worker, action):
        assert worker.process is not None
        rate = capacity(traffic)
        print(f"capacity: {rate:,.0f} requests/s of {CANDIDATES} candidates; " + traffic.told("c", CAPACITY_S * 1.3))
        sleep(1.0)
        before = memory_mb(worker.process.pid)
        flood(traffic, times * rate, seconds, action)
        after = memory_mb(worker.process.pid)
        ended = monotonic()
        for _ in range(int(10 * AFTER_S)):
            traffic.ask("a")
            sleep(0.1)
        sleep(2.0)
        traffic.end()
        print(f"{times:g} times for {seconds:.0f} s: " + traffic.told("o", seconds))
        ranked = sum(kind == "ranked" for name, (_, kind) in traffic.answers.items() if name.startswith("o"))
        print(
            f"  ranked {ranked / seconds / rate:.1%} of the capacity; "
            f"worker {before:.0f} MB before, {after:.0f} MB after"
        )
        print("afterwards: " + traffic.told("a", AFTER_S))
        slow = [
            traffic.sent_at_s[name] - ended
            for name, (at, kind) in traffic.answers.items()
            if name.startswith("a") and (kind != "ranked" or at - traffic.sent_at_s[name] > IN_TIME_MS / 1e3)
        ]
        print(f"  the last that was not ranked in time was sent {max(slow, default=0.0):.1f} s after the end")


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bundle", type=Path, required=True)
    options.add_argument("--kafka-home", type=Path)
    options.add_argument("--times", type=float, default=5.0)
    options.add_argument("--seconds", type=float, default=30.0)
    options.add_argument("--within-ms", type=int, default=500)
    chosen = options.parse_args()
    os.sched_setaffinity(0, {OTHER_CORE})
    broker = RealKafka(chosen.kafka_home) if chosen.kafka_home else EmbeddedBroker()
    with broker, tempfile.TemporaryDirectory() as name:
        settings = Settings(
            bootstrap_servers=broker.bootstrap_servers,
            app_id="overload",
            partitions=4,
            state_dir=Path(name) / "state",
            bundle=chosen.bundle,
            session_timeout_s=6.0,
            heartbeat_interval_s=1.0,
            answer_within_ms=chosen.within_ms,
        )
        measure(settings, chosen.bundle, chosen.times, chosen.seconds, Path(name))


if __name__ == "__main__":
    main()
