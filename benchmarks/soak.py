"""Whether a worker stays as it is: memory and its parts, open files, latency, at a share of its capacity for long.

    python -m benchmarks.soak [--minutes 30] [--share 0.7] [--bundle DIR] [--kafka-home DIR] [--plot FILE.svg]

First ``--fill`` actions fill histories and caches, which would look like a leak; then the capacity is measured, with
actions beside the requests; then the worker is asked for ``--share`` of it. Each second its page ``/figures`` is read.
What counts is the slope over the second half. Without
``--bundle`` a tiny one is served, without ``--kafka-home`` the broker is the embedded one, which keeps all records in a
memory of its own.
"""

import argparse
import asyncio
import json
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np

from benchmarks.overload import Traffic
from rankstream.cli.worker_process import WorkerProcess, worker_flags
from rankstream.metrics.drawing import GREYS, HUES, SMALL_PT, TITLE, WIDE_IN, figure, write_svg
from rankstream.ranking.bundle import open_bundle
from rankstream.streams.broker import EmbeddedBroker, RealKafka, free_port
from rankstream.streams.clients.producer import Producer
from rankstream.streams.clients.readers import TopicReader
from rankstream.streams.settings import Settings
from rankstream.streams.topics import FEEDS, prepare_topics
from tests.builders.bundle import a_bundle

ACTIONS_PER_S, UNDER_WAY = 1_000, 16
CAPACITY_S, START_S, FILL_S = 10.0, 60.0, 1_800.0
FILLED = 0.99  # of the actions: two of a user at the same millisecond with the same item are one
STEP_S = 0.002
BLOCK_S = 30.0  # that one point of a slope is the mean of: nearer ones are not independent
MIN_BLOCKS = 8
DRAWN = 240  # seconds of a plot
FLAT_MB_PER_HOUR = 30.0  # less than that is called flat
MB = 1e6
PARTS = ("block_cache_bytes", "table_reader_bytes")  # memtables are counted within the cache
ROWS = {  # of the table, each with its unit
    "resident_bytes": MB, "block_cache_bytes": MB, "memtable_bytes": MB, "table_reader_bytes": MB, "python_bytes": MB,
    "descriptors": 1, "threads": 1, "cached_users": 1, "changed_users": 1, "checkpoint_age_s": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One second."""

    at_s: float
    p50_ms: float | None
    p99_ms: float | None
    figures: dict[str, Any]  # of the page

    def mb(self, name: str) -> float:
        """Return one of the figures in bytes as MB."""
        return (self.figures[name] or 0) / MB


@dataclass(frozen=True)
class Slope:
    """How something grows over the second half, an hour, with the interval of 95 %."""

    per_hour: float
    low: float
    high: float


@dataclass
class Soak:
    """All that was seen."""

    share: float
    capacity: float = 0.0  # requests/s
    samples: list[Sample] = field(default_factory=list)
    unanswered: int = 0
    errors: int = 0

    def slope(self, value: Callable[[Sample], float]) -> Slope | None:
        """Return the slope over the second half; None for too short a time."""
        half = self.samples[len(self.samples) // 2 :]
        return slope_of([one.at_s for one in half], [value(one) for one in half])

    @property
    def is_flat(self) -> bool:
        """Return whether memory grows by less than ``FLAT_MB_PER_HOUR``, with the whole of its interval."""
        found = self.slope(lambda one: one.mb("resident_bytes"))
        return found is not None and found.high < FLAT_MB_PER_HOUR


def slope_of(seconds: Sequence[float], values: Sequence[float]) -> Slope | None:
    """Fit a line through the means of blocks of ``BLOCK_S``; the interval is that of least squares."""
    at, found = np.array(seconds), np.array(values)
    blocks = (at // BLOCK_S).astype(int)
    names = np.unique(blocks)
    if len(names) < MIN_BLOCKS:
        return None
    x = np.array([at[blocks == one].mean() for one in names]) / 3600
    y = np.array([found[blocks == one].mean() for one in names])
    spread = ((x - x.mean()) ** 2).sum()
    per_hour = float(((x - x.mean()) * (y - y.mean())).sum() / spread)
    left = y - y.mean() - per_hour * (x - x.mean())
    margin = float(student_t(len(x) - 2) * np.sqrt((left**2).sum() / (len(x) - 2) / spread))
    return Slope(per_hour, per_hour - margin, per_hour + margin)


def student_t(freedom: int) -> float:
    """Return the 97.5th percentile of Student's t, by Cornish and Fisher's expansion: 1 % off at 6, less above."""
    z = 1.959964
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def fill(traffic: Traffic, action: str, count: int, page: str) -> None:
    """Send so many actions as fast as it goes, and wait until they are applied."""
    begun = monotonic()
    for _ in range(count):
        traffic.act(action)
    traffic.producer.flush()
    while (done := _figures(page)["actions"]) < FILLED * count:
        if monotonic() - begun > FILL_S:
            raise SystemExit(f"{done:,} of {count:,} actions were applied within {FILL_S:g} s")
        sleep(1.0)
    print(f"filled: {count:,} actions of {traffic.users:,} users in {monotonic() - begun:.0f} s", flush=True)


def _figures(page: str) -> dict[str, Any]:
    with urllib.request.urlopen(page, timeout=5) as answer:
        found: dict[str, Any] = json.loads(answer.read())
        return found


def capacity(traffic: Traffic, action: str) -> float:
    """Keep the worker busy for a while, beside actions; return how many requests it ranks a second."""
    begun = monotonic()
    acted, counted_from = 0, begun + 0.3 * CAPACITY_S
    while (now := monotonic() - begun) < 1.3 * CAPACITY_S:
        while traffic.open_requests() < UNDER_WAY:
            traffic.ask("c")
        acted = _act(traffic, action, now, acted)
        sleep(STEP_S)
    return sum(at >= counted_from for at, kind in traffic.answers.values() if kind == "ranked") / CAPACITY_S


def _act(traffic: Traffic, action: str, now_s: float, acted: int) -> int:
    due = int(now_s * ACTIONS_PER_S)
    for _ in range(due - acted):
        traffic.act(action)
    return due


def steady(traffic: Traffic, per_s: float, seconds: float, action: str, look: Callable[[float], None]) -> None:
    """Send requests and actions evenly, and look each second."""
    begun, asked, acted, look_at = monotonic(), 0, 0, 1.0
    while (now := monotonic() - begun) < seconds:
        for _ in range(int(now * per_s) - asked):
            traffic.ask("s")
            asked += 1
        acted = _act(traffic, action, now, acted)
        if now >= look_at:
            look(now)
            look_at += 1.0
        sleep(STEP_S)


class Looks:
    """Reads the worker's page in a thread, so that nothing is sent late for it."""

    def __init__(self, soak: Soak, traffic: Traffic, page: str) -> None:
        self.soak, self.traffic = soak, traffic
        self._url = page
        self._seen = 0  # requests whose latency is in a sample

    def look(self, at_s: float) -> None:
        """Add a sample."""
        threading.Thread(target=self._look, args=(at_s,), daemon=True).start()

    def _look(self, at_s: float) -> None:
        with suppress(OSError):
            figures = _figures(self._url)
            took = self._took_ms()
            p50, p99 = np.percentile(took, [50, 99]).tolist() if took else (None, None)
            self.soak.samples.append(Sample(round(at_s, 1), p50, p99, figures))

    def _took_ms(self) -> list[float]:
        """Return how long the requests waited that were answered since the last look."""
        answers = list(self.traffic.answers.items())
        new, self._seen = answers[self._seen :], len(answers)
        return [1e3 * (at - self.traffic.sent_at_s[name]) for name, (at, _) in new if name.startswith("s")]


def measure(settings: Settings, share: float, minutes: float, users: int, filling: int, folder: Path) -> Soak:
    """Run it all."""
    page = f"http://127.0.0.1:{settings.web_port}/figures"
    opened = open_bundle(settings.bundle)
    action = opened.manifest.vocabulary.actions[0]
    asyncio.run(prepare_topics(settings))
    soak = Soak(share)
    worker = WorkerProcess(worker_flags(settings), folder / "worker.log")
    with Producer(settings) as producer, TopicReader(settings, FEEDS, from_beginning=True) as reader:
        traffic = Traffic(producer, reader, opened.items.ids(np.arange(len(opened.items))), users)
        worker.start()
        with worker:
            threading.Thread(target=traffic.read, daemon=True).start()
            _wait_first(traffic, worker)
            fill(traffic, action, filling, page)
            soak.capacity = capacity(traffic, action)
            print(f"capacity: {soak.capacity:,.0f} requests/s beside {ACTIONS_PER_S:,} actions/s", flush=True)
            looks = Looks(soak, traffic, page)
            steady(traffic, share * soak.capacity, 60 * minutes, action, looks.look)
            sleep(2.0)
            worker.check()
        traffic.end()
    soak.unanswered = traffic.open_requests()
    soak.errors = sum(kind == "error" for _, kind in traffic.answers.values())
    soak.samples.sort(key=lambda one: one.at_s)
    return soak


def _wait_first(traffic: Traffic, worker: WorkerProcess) -> None:
    first, deadline = traffic.ask("w"), monotonic() + START_S
    while first not in traffic.answers:
        worker.check()
        if monotonic() > deadline:
            raise SystemExit(f"the first request was not answered within {START_S:g} s; see {worker.log}")
        sleep(0.1)


def table(soak: Soak) -> str:
    """Return what was seen as people read it."""
    at = [soak.samples[index] for index in (0, len(soak.samples) // 2, -1)]
    lines = [f"{'':24}" + "".join(f"{one.at_s / 60:>9.1f} min" for one in at) + "   an hour, over the second half"]
    for name, unit in ROWS.items():
        if at[0].figures[name] is not None:
            lines.append(_row(soak, at, name, unit))
    half = soak.samples[len(soak.samples) // 2 :]
    p50, p99 = (np.median([getattr(one, name) for one in half if getattr(one, name)]) for name in ("p50_ms", "p99_ms"))
    lines.append(f"latency, median of seconds: p50 {p50:,.0f} ms, p99 {p99:,.0f} ms (of this machine's load)")
    lines.append(f"unanswered {soak.unanswered}, errors {soak.errors}")
    verdict = "flat" if soak.is_flat else "NOT FLAT"
    return "\n".join([*lines, f"memory: {verdict} (flat is below {FLAT_MB_PER_HOUR:g} MB an hour)"])


def _row(soak: Soak, at: list[Sample], name: str, unit: float) -> str:
    def value(one: Sample) -> float:
        return float(one.figures[name]) / unit

    slope = soak.slope(value)
    told = "" if slope is None else f"   {slope.per_hour:+,.1f} ({slope.low:+,.1f} to {slope.high:+,.1f})"
    shown = name.replace("_bytes", ", MB")
    return f"{shown:24}" + "".join(f"{value(one):>13,.1f}" for one in at) + told


def draw(soak: Soak, path: Path) -> None:
    """Draw memory and its parts, files and users, and latency over time."""
    samples = soak.samples[:: max(1, len(soak.samples) // DRAWN)]
    minutes = [one.at_s / 60 for one in samples]
    drawn, (memory, counts, waiting) = figure(WIDE_IN, 6.5, nrows=3, sharex=True, height_ratios=[3, 1.5, 1.5])
    memory.plot(minutes, [one.mb("resident_bytes") for one in samples], color=HUES[0], label="resident")
    below = np.zeros(len(minutes))
    for name, hue in zip(PARTS, HUES[1:], strict=False):
        part = np.array([one.mb(name) for one in samples])
        memory.fill_between(minutes, below, below + part, color=hue, lw=0, label=name.removesuffix("_bytes"))
        below = below + part
    memory.set_ylabel("MB")
    for name, hue in (("descriptors", HUES[1]), ("threads", GREYS[1])):
        counts.plot(minutes, [one.figures[name] for one in samples], color=hue, label=name)
    for name, hue in (("p50_ms", HUES[0]), ("p99_ms", HUES[1])):
        waiting.plot(minutes, [getattr(one, name) or np.nan for one in samples], color=hue, lw=0.8, label=name)
    waiting.set_yscale("log")
    waiting.set_ylabel("ms")
    waiting.set_xlabel("minutes")
    for axes in (memory, counts, waiting):
        axes.legend(frameon=False, fontsize=SMALL_PT, loc="upper left", ncols=4)
    memory.set_ylim(bottom=0)
    counts.set_ylim(bottom=0)
    verdict = "flat" if soak.is_flat else "not flat"
    memory.set_title(f"a worker at {soak.share:.0%} of {soak.capacity:,.0f} requests/s: {verdict}", **TITLE)
    write_svg(drawn, f"memory, open files and latency of a worker over {minutes[-1]:.0f} minutes: {verdict}", path)


def main() -> int:
    """Measure and print; return 1 where memory is not flat."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=30.0)
    options.add_argument("--share", type=float, default=0.7, help="of the capacity")
    options.add_argument("--users", type=int, default=10_000)
    options.add_argument("--fill", type=int, default=1_000_000, help="actions before anything is measured")
    options.add_argument("--bundle", type=Path)
    options.add_argument("--kafka-home", type=Path)
    options.add_argument("--plot", type=Path, metavar="FILE.svg")
    options.add_argument("--samples", type=Path, metavar="FILE.json", help="where to write each second")
    chosen = options.parse_args()
    broker = RealKafka(chosen.kafka_home) if chosen.kafka_home else EmbeddedBroker()
    with broker, tempfile.TemporaryDirectory() as name:
        settings = Settings(
            bootstrap_servers=broker.bootstrap_servers,
            app_id="soak",
            partitions=4,
            state_dir=Path(name) / "state",
            bundle=chosen.bundle or a_bundle(Path(name) / "bundle", num_items=5_000),
            web_port=free_port(),
        )
        soak = measure(settings, chosen.share, chosen.minutes, chosen.users, chosen.fill, Path(name))
    print(table(soak))
    if chosen.samples is not None:
        chosen.samples.write_text(json.dumps([asdict(one) for one in soak.samples]))
    if chosen.plot is not None:
        draw(soak, chosen.plot)
    return 0 if soak.is_flat else 1


if __name__ == "__main__":
    raise SystemExit(main())
