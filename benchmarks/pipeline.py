"""Events a second of the pipeline alone, one core, no broker: decode, group, apply, checkpoint to RocksDB.

    python -m benchmarks.pipeline [EVENTS] [--rounds 5] [--json FILE]

Prints the median of the rounds, what a user's record takes, and what the check of where keys lie costs: rounds with it
and without it alternate, and the quickest of each are compared.
"""

import argparse
import gc
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import process_time

from benchmarks.figures import OF_CPU, TIMES, Figure, add_json, write_figures
from benchmarks.workload import VOCABULARY, Event, events
from rankstream.events.action_event import Recorded
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.join import OfflineFeatures
from rankstream.features.schema import FeatureSizes
from rankstream.features.sessions import NoSessions
from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.rocksdb import RocksStore
from rankstream.streams.partitioner import KeyCheck, PartitionCheck, anywhere
from rankstream.streams.pipeline import Pipeline

CHUNK, CHECKPOINT = 1000, 200_000

NO_TABLES = OfflineFeatures(FeatureSizes(), NoVectors(32), NoVectors(4), NoVectors(64), NoSessions(64))


@dataclass(frozen=True)
class StateOnly:
    """Serving without a model: only state is measured."""

    offline: OfflineFeatures = NO_TABLES
    vocabulary = VOCABULARY

    @property
    def current(self) -> "StateOnly":
        """Return what the pipeline reads its tables from."""
        return self

    def for_user(self, key: bytes) -> "StateOnly":
        """Return the same for every user."""
        return self


def read(made: list[Event]) -> list[Recorded]:
    """Return the events as records of one partition."""
    return [Recorded("user-actions", 0, at, one.timestamp_ms, one.key, one.value) for at, one in enumerate(made)]


def run(records: list[Recorded], folder: Path, check: KeyCheck) -> tuple[float, float]:
    """Apply all records to an empty store; return CPU seconds and bytes a user."""
    store = RocksStore(folder)
    pipeline = Pipeline(UserCache(store), StateOnly(), wrong_partition=check)  # type: ignore[arg-type]
    begun = process_time()
    for at in range(0, len(records), CHUNK):
        pipeline.on_actions(records[at : at + CHUNK])
        if at % CHECKPOINT == 0:
            pipeline.users.commit(pipeline.users.take_changes(at + CHUNK))
    pipeline.users.commit(pipeline.users.take_changes(len(records)))
    took = process_time() - begun
    sizes = [len(record) for _, record in store.items()]
    store.close()
    return took, sum(sizes) / len(sizes)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("events", type=int, nargs="?", default=400_000)
    options.add_argument("--rounds", type=int, default=5)
    add_json(options)
    chosen = options.parse_args()
    count, rounds = chosen.events, chosen.rounds
    records = read(list(events(count)))
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    rates: list[float] = []
    unchecked: list[float] = []
    for _ in range(rounds):
        for found, check in ((rates, PartitionCheck(0, 1)), (unchecked, anywhere)):
            with tempfile.TemporaryDirectory() as folder:
                took, bytes_a_user = run(records, Path(folder) / "db", check)
                found.append(count / took)
    print(f"{count:,} events, {rounds} rounds: median {median(rates):,.0f} events/s of CPU time")
    print(f"({min(rates):,.0f} to {max(rates):,.0f}); {bytes_a_user:,.0f} bytes a user on average")
    print(f"with the check of partitions {max(rates) / max(unchecked):.3f} of the rate without it")
    checks = [one / other for one, other in zip(rates, unchecked, strict=True)]
    check = Figure.of("with the check of partitions to without", TIMES, checks)
    write_figures(chosen.json, [Figure.of("plain engine", OF_CPU, rates), check])


if __name__ == "__main__":
    main()
