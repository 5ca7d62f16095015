"""What a worker does when it is asked for several times what it can rank: latencies, ranked or by popularity.

    python -m benchmarks.overload --bundle DIR [--kafka-home DIR] [--times 5] [--seconds 30] [--within-ms 500]

First the capacity, with as many requests under way as keep the worker busy; then so many times as many, evenly spread;
both beside a stream of actions. Then one request each tenth of a second. The worker has one core, the broker and this
process the other. Without ``--kafka-home`` the broker is the embedded one.

What a request costs that is ranked, and one that is shed, comes from the worker's CPU time in both phases. It bounds
what is left for ranking: with ``n`` times the capacity, ranked ``x`` of it and shed the rest, ``x * ranked + (n - x) *
shed`` is what ranking alone takes. Where other work keeps the core from the worker, only these figures say something.
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

from benchmarks.cores import pin
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

    def act_until(self, action: str, now_s: float, acted: int) -> int:
        """Send the actions of a phase that are due ``now_s`` after its begin, and return how many; ``acted`` were."""
        due = int(now_s * ACTIONS_PER_S) - acted
        for _ in range(due):
            self.act(action)
        return due

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


@dataclass(frozen=True)
class Spent:
    """What a worker did in a phase, and the CPU time that it took."""

    ranked: int
    shed: int
    cpu_s: float


@dataclass(frozen=True)
class Costs:
    """What requests take of a worker's CPU time."""

    ranked_s: float
    shed_s: float

    def most_ranked(self, times: float) -> float:
        """Return the share of the capacity that can be ranked while so many times as many are asked for."""
        ratio = self.shed_s / self.ranked_s
        return max(0.0, 1 - times * ratio) / (1 - ratio)


def costs_of(calm: Spent, busy: Spent) -> Costs:
    """Return the costs by which two phases took what they did; all else that a worker does is spread over them."""
    counts = np.array([[calm.ranked, calm.shed], [busy.ranked, busy.shed]], np.float64)
    ranked_s, shed_s = np.linalg.solve(counts, [calm.cpu_s, busy.cpu_s]).tolist()
    return Costs(ranked_s, shed_s)


@contextmanager
def spending(traffic: Traffic, process: int) -> Iterator[list[Spent]]:
    """Yield a list, to which is added what was spent inside."""
    found: list[Spent] = []
    before, answered = cpu_s(process), len(traffic.answers)
    yield found
    took_s, kinds = cpu_s(process) - before, [kind for _, kind in list(traffic.answers.values())[answered:]]
    found.append(Spent(kinds.count("ranked"), kinds.count("fallback"), took_s))


def capacity(traffic: Traffic, action: str) -> float:
    """Keep the worker busy for a while; return how many it ranks a second."""
    started, acted = monotonic(), 0
    until, begun = started + 1.3 * CAPACITY_S, started + 0.3 * CAPACITY_S
    while (now := monotonic()) < until:
        while traffic.open_requests() < UNDER_WAY:
            traffic.ask("c")
        acted += traffic.act_until(action, now - started, acted)
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
        acted += traffic.act_until(action, now, acted)
        sleep(0.002)


def cpu_s(process: int) -> float:
    """Return the CPU time that a process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(process: int) -> float:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def served(
    settings: Settings,
    bundle: Path,
    folder: Path,
    candidates: int = CANDIDATES,
    instead: list[str] | None = None,
) -> Iterator[tuple[Traffic, WorkerProcess, str]]:
    """Start a worker on a core of its own and wait for its first answer; yield it, with an action of its vocabulary.

    ``instead`` is the command of what is started in its place.
    """
    opened = open_bundle(bundle)
    asyncio.run(prepare_topics(settings))
    worker = WorkerProcess(worker_flags(settings), folder / "worker.log")
    worker.command = instead or worker.command
    with Producer(settings) as producer, TopicReader(settings, FEEDS, from_beginning=True) as reader:
        traffic = Traffic(producer, reader, opened.items.ids(np.arange(len(opened.items))), candidates=candidates)
        worker.start()
        with worker:
            assert worker.process is not None
            pin(worker.process.pid, WORKER_CORE)
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
        process = worker.process.pid
        with spending(traffic, process) as calm:
            rate = capacity(traffic, action)
        print(f"capacity: {rate:,.0f} requests/s of {CANDIDATES} candidates; " + traffic.told("c", CAPACITY_S * 1.3))
        sleep(1.0)
        before = memory_mb(process)
        with spending(traffic, process) as busy:
            flood(traffic, times * rate, seconds, action)
        after = memory_mb(process)
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
        print(told_costs(calm[0], busy[0], times, seconds))
        print("afterwards: " + traffic.told("a", AFTER_S))
        slow = [
            traffic.sent_at_s[name] - ended
            for name, (at, kind) in traffic.answers.items()
            if name.startswith("a") and (kind != "ranked" or at - traffic.sent_at_s[name] > IN_TIME_MS / 1e3)
        ]
        print(f"  the last that was not ranked in time was sent {max(slow, default=0.0):.1f} s after the end")


def told_costs(calm: Spent, busy: Spent, times: float, seconds: float) -> str:
    """Return a line about what requests cost, and what that leaves to the ranker."""
    costs = costs_of(calm, busy)
    return (
        f"  of the worker's CPU time one that is ranked takes {1e3 * costs.ranked_s:.2f} ms, one that is shed "
        f"{1e6 * costs.shed_s:.0f} us: at most {costs.most_ranked(times):.1%} of the capacity can be ranked at "
        f"{times:g} times; of the {busy.cpu_s:.1f} s that it got in {seconds:.0f} s, "
        f"{busy.ranked * costs.ranked_s / busy.cpu_s:.1%} went into ranking"
    )


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
