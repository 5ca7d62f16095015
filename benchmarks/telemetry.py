"""What being watched costs a worker: CPU of counting, of the beats and of a scrape, at 5,000 actions a second.

    python -m benchmarks.telemetry [--scrape-every-s 15]

Each part is timed alone, in CPU time, and multiplied by how often it comes a second; no broker. A chunk is taken to
hold 25 actions, and 200 requests a second are ranked beside them: both many, so the share is an upper bound. Asking a
broker each second whether it answers is the client's own refresh of metadata, and is not in it.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time
from types import SimpleNamespace

from faust.types import TP

from benchmarks.workload import VOCABULARY, events
from rankstream.events.action_event import Recorded
from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.rocksdb import RocksStore
from rankstream.ranking.request import Ranking
from rankstream.ranking.serving import LiveRanker
from rankstream.streams.heartbeat import EVERY_S
from rankstream.streams.pipeline import Pipeline
from rankstream.streams.settings import Settings
from rankstream.streams.topics import TopicNames
from rankstream.streams.worker.backpressure import Pressure
from rankstream.streams.worker.checkpoint import Cursor, Partition
from rankstream.streams.worker.chunks import ReadingPlan
from rankstream.streams.worker.limits import Limits
from rankstream.streams.worker.observer import Observer
from rankstream.streams.worker.outbox import Outbox
from rankstream.streams.worker.ownership import Ownership

ACTIONS_A_S, CHUNK, REQUESTS_A_S, PARTITIONS = 5_000, 25, 200, 8
RANKING = Ranking((), (), "m", 9, 2_000, True, 1, dict.fromkeys(("retrieve", "join", "score", "blend", "total"), 2.0))


def a_worker(folder: Path) -> Observer:
    """Return an observer of partitions that hold users."""
    settings, serving = Settings(), LiveRanker.without_bundle(VOCABULARY)
    parts = (SimpleNamespace(), ReadingPlan(), Limits(settings))
    owner = Ownership(settings, serving, *parts, fencing=False, sample=lambda *given: None)
    for number in range(PARTITIONS):
        pipeline = Pipeline(UserCache(RocksStore(folder / str(number))), serving)
        records = [
            Recorded("a", number, at, one.timestamp_ms, one.key, one.value) for at, one in enumerate(events(9_999))
        ]
        pipeline.on_actions(records)
        pipeline.users.commit(pipeline.users.take_changes(9_999))
        cursors = Cursor(TP("user-actions", number), 9_999), Cursor(TP("ranking-requests", number), 0)
        outbox = Outbox(SimpleNamespace(), TopicNames(), number, Limits(settings))
        owner.partitions[number] = Partition(number, pipeline, outbox, *cursors, log_changes=False)
    observer = Observer(settings, serving, Pressure(10, lambda: None, lambda: []), lambda tp: 10_000)  # type: ignore[arg-type, return-value]
    observer.ownership = owner
    return observer


def cpu_s(work: Callable[[], object], times: int) -> float:
    """Return the CPU time of one call, the least of five rounds."""
    rounds = []
    for _ in range(5):
        started = process_time()
        for _ in range(times):
            work()
        rounds.append((process_time() - started) / times)
    return min(rounds)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--scrape-every-s", type=float, default=15.0)
    every_s = options.parse_args().scrape_every_s
    with tempfile.TemporaryDirectory() as folder:
        observer = a_worker(Path(folder))
        counters = observer.ownership.partitions[0].pipeline.counters  # type: ignore[union-attr]
        parts = {
            "a chunk counted": (cpu_s(lambda: counters.chunk_s.observe(0.002), 20_000), ACTIONS_A_S / CHUNK),
            "a ranking counted": (cpu_s(lambda: counters.rank(RANKING, 1, 30), 20_000), REQUESTS_A_S),
            "a beat": (cpu_s(observer.heartbeat.beat, 20_000), 1 / EVERY_S),
            "a scrape": (cpu_s(observer.metrics, 20), 1 / every_s),
        }
        size = len(observer.metrics())
    for name, (each_s, a_second) in parts.items():
        print(f"{name:20} {1e6 * each_s:10.1f} us, {a_second:6.1f} a second: {100 * each_s * a_second:.3f} % of a core")
    share = sum(each_s * a_second for each_s, a_second in parts.values())
    print(f"{'together':20} {100 * share:.3f} % of a core; a scrape is {size:,} bytes of {PARTITIONS} partitions")


if __name__ == "__main__":
    main()
