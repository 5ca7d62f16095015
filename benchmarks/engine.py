"""Compiled engine / plain engine, in one process: how many times as many events a CPU second, and what each step takes.

    python -m benchmarks.engine [--events 200000] [--users 5000] [--rounds 5]

Each round drives both engines over the same record batches, from an empty RocksDB store to the last checkpoint:
aiokafka reads the batches, the engine decodes and applies them, a checkpoint follows every 100,000 events. No broker,
no network: what fetching costs is the same for both, and not in it. Rounds alternate; medians are printed, and the
ratio of each round's pair, which other work on the machine moves least.
"""

import argparse
import gc
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition

from benchmarks.pipeline import StateOnly
from benchmarks.workload import events
from rankstream.features.stores.rocksdb import RocksStore
from rankstream.streams.columns import in_one
from rankstream.streams.engine import PLAIN, Engine, open_engine
from rankstream.streams.partitioner import PartitionCheck
from rankstream.streams.worker.unpacked_columns import AsColumns, HeldRecords, partition_records

TP = TopicPartition("user-actions", 0)
BATCH_BYTES, FETCH_BATCHES = 64 << 10, 8
CHUNK, CHECKPOINT = 2_000, 100_000  # records; the worker's default, and a second of work or so


@dataclass(frozen=True)
class Took:
    """CPU seconds of one engine over all events."""

    reading: float  # batches -> records, or columns
    applying: float
    checkpoints: float

    @property
    def all(self) -> float:
        """Return their sum."""
        return self.reading + self.applying + self.checkpoints


def fetches(count: int, users: int) -> list[bytes]:
    """Return the events as a broker would send them: a few record batches at a time, uncompressed."""
    batches = list(_batches(count, users))
    return [b"".join(batches[at : at + FETCH_BATCHES]) for at in range(0, len(batches), FETCH_BATCHES)]


def _batches(count: int, users: int) -> Iterator[bytes]:
    builder, base, held = _builder(), 0, 0
    for event in events(count, users):
        about = {"timestamp": event.timestamp_ms, "key": event.key, "value": event.value, "headers": []}
        if builder.append(held, **about) is None:
            yield _built(builder, base)
            builder, base, held = _builder(), base + held, 0
            builder.append(0, **about)
        held += 1
    yield _built(builder, base)


def _builder() -> Any:
    return DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, BATCH_BYTES)


def _built(builder: Any, base_offset: int) -> bytes:
    raw = bytearray(builder.build())
    raw[:8] = base_offset.to_bytes(8, "big")  # which the checksum leaves out
    return bytes(raw)


def read(data: bytes, engine: Engine, offset: int) -> Sequence[Any]:
    """Return the records of a fetch as the engine's worker would be handed them."""
    as_columns = AsColumns(TP.topic) if engine.reads_columns else None
    return in_one(list(partition_records(TP, HeldRecords(data), (), offset, as_columns, None, True, 1)))


def run(engine: Engine, fetched: Sequence[bytes], folder: Path) -> Took:
    """Apply all to an empty store."""
    store = RocksStore(folder)
    pipeline = engine.pipeline(engine.users(store, 100), StateOnly(), wrong_partition=PartitionCheck(0, 1))  # type: ignore[arg-type]
    times, offset, saved = [0.0, 0.0, 0.0], 0, 0
    for data in fetched:
        begun = process_time()
        records = read(data, engine, offset)
        times[0] += process_time() - begun
        begun = process_time()
        for at in range(0, len(records), CHUNK):
            assert not pipeline.on_actions(records[at : at + CHUNK])
        offset += len(records)
        times[1] += process_time() - begun
        begun = process_time()
        if offset - saved >= CHECKPOINT or data is fetched[-1]:
            pipeline.users.commit(pipeline.users.take_changes(offset))
            saved = offset
        times[2] += process_time() - begun
    store.close()
    return Took(*times)


def compare(count: int, users: int, rounds: int) -> tuple[list[Took], list[Took]]:
    """Return what the plain and the compiled engine took in each round, after one that is not counted."""
    fetched, compiled = fetches(count, users), open_engine("compiled")
    gc.collect()
    gc.freeze()
    found: tuple[list[Took], list[Took]] = ([], [])
    for number in range(rounds + 1):
        for one, engine in zip(found, (PLAIN, compiled), strict=True):
            with tempfile.TemporaryDirectory() as folder:
                took = run(engine, fetched if number else fetched[:1], Path(folder) / "db")
            one.extend([took] if number else [])
    gc.unfreeze()
    return found


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=200_000)
    options.add_argument("--users", type=int, default=5_000)
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    found = compare(chosen.events, chosen.users, chosen.rounds)
    print(f"{chosen.events:,} events, {chosen.users:,} users, {chosen.rounds} rounds; ns of CPU an event, medians")
    print(f"{'':10}{'reading':>10}{'applying':>10}{'checkpoint':>12}{'all':>8}{'events a CPU second':>22}")
    for name, runs in zip(("plain", "compiled"), found, strict=True):
        steps = [
            median(getattr(one, step) for one in runs) / chosen.events * 1e9
            for step in ("reading", "applying", "checkpoints", "all")
        ]
        reading, applying, checkpoints, all_steps = steps
        print(
            f"{name:10}{reading:10,.0f}{applying:10,.0f}{checkpoints:12,.0f}{all_steps:8,.0f}{1e9 / all_steps:22,.0f}"
        )
    ratios = [plain.all / other.all for plain, other in zip(*found, strict=True)]
    print(f"compiled / plain: {median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")


if __name__ == "__main__":
    main()
