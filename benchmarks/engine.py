"""Compiled engine / plain engine, in one process: how many times as many events a CPU second, and what each step takes.

    python -m benchmarks.engine [--events 200000] [--users 5000] [--rounds 5] [--json FILE]

Each round drives both engines over the same record batches, from an empty RocksDB store to the last checkpoint:
aiokafka reads the batches, the engine decodes and applies them, a checkpoint follows every 100,000 events: the states
are packed and made into batches of the changelog, with their checksums, and written to RocksDB. No broker, no network:
what fetching and sending cost is the same for both, and not in it. The third line is the compiled engine whose
checkpoints take the states out one by one, as all did once. Rounds alternate; medians are printed, and the ratio of
each round's pair, which other work on the machine moves least.
"""

import argparse
import gc
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from time import process_time
from types import SimpleNamespace
from typing import Any

from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition

from benchmarks.figures import OF_CPU, TIMES, Figure, add_json, write_figures
from benchmarks.pipeline import StateOnly
from benchmarks.workload import Event, events
from rankstream.features.stores.rocksdb import RocksStore
from rankstream.streams.columns import AsColumns, in_one
from rankstream.streams.engine import PLAIN, Engine, open_engine
from rankstream.streams.partitioner import PartitionCheck
from rankstream.streams.pipeline import Pipeline
from rankstream.streams.settings import Settings
from rankstream.streams.topics import TopicNames
from rankstream.streams.worker.limits import Limits
from rankstream.streams.worker.outbox import Outbox
from rankstream.streams.worker.unpacked_columns import partition_records
from rankstream.streams.worker.unpacking import LedRecords

TP = TopicPartition("user-actions", 0)
BATCH_BYTES, FETCH_BATCHES = 64 << 10, 8
STEPS = ("reading", "applying", "packing", "changelog", "store", "all")
CHUNK, CHECKPOINT = 2_000, 100_000  # records; the worker's default, and a second of work or so


@dataclass(frozen=True)
class Took:
    """CPU seconds of one engine over all events."""

    reading: float  # batches -> records, or columns
    applying: float
    packing: float  # changed users -> their states
    changelog: float  # states -> batches to be sent
    store: float

    @property
    def all(self) -> float:
        """Return their sum."""
        return self.reading + self.applying + self.packing + self.changelog + self.store


class NoBroker:
    """A transactional producer's batches, which are built and thrown away."""

    _txn_manager = SimpleNamespace(transactional_id="none")
    _message_accumulator = SimpleNamespace(_compression_type=0, _batch_size=1 << 20)

    def create_batch(self) -> BatchBuilder:
        """Return a batch to be filled."""
        return BatchBuilder(1 << 20, 0, is_transactional=True)


def fetches(sent: Iterable[Event]) -> list[bytes]:
    """Return the events as a broker would send them: a few record batches at a time, uncompressed."""
    batches = list(_batches(sent))
    return [b"".join(batches[at : at + FETCH_BATCHES]) for at in range(0, len(batches), FETCH_BATCHES)]


def _batches(sent: Iterable[Event]) -> Iterator[bytes]:
    builder, base, held = _builder(), 0, 0
    for event in sent:
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
    return in_one(list(partition_records(TP, LedRecords(data), (), offset, as_columns, None, True, 1)))


@dataclass(frozen=True)
class Way:
    """An engine, and how its checkpoints write."""

    name: str
    engine: Engine
    one_by_one: bool = False  # states, from what packed them together


def run(way: Way, fetched: Sequence[bytes], folder: Path) -> Took:
    """Apply all to an empty store."""
    engine, store = way.engine, RocksStore(folder)
    pipeline = engine.pipeline(engine.users(store, 100), StateOnly(), wrong_partition=PartitionCheck(0, 1))  # type: ignore[arg-type]
    times, offset, saved = [0.0] * 5, 0, 0
    for data in fetched:
        begun = process_time()
        records = read(data, engine, offset)
        times[0] += process_time() - begun
        begun = process_time()
        for at in range(0, len(records), CHUNK):
            assert not pipeline.on_actions(records[at : at + CHUNK])
        offset += len(records)
        times[1] += process_time() - begun
        if offset - saved >= CHECKPOINT or data is fetched[-1]:
            took = checkpoint(pipeline, offset, way.one_by_one)
            times[2:] = [sum(pair) for pair in zip(times[2:], took, strict=True)]
            saved = offset
    store.close()
    return Took(*times)


def checkpoint(pipeline: Pipeline, offset: int, one_by_one: bool) -> tuple[float, float, float]:
    """Make one, and return the CPU seconds of packing, of the changelog's batches and of the store."""
    begun = process_time()
    changes = pipeline.users.take_changes(offset)
    if one_by_one:
        changes = replace(changes, records=dict(changes.records.items()))
    packed = process_time()
    producer: Any = NoBroker()
    for batch in Outbox(producer, TopicNames(), 0, Limits(Settings()))._batches(changes, producer):
        batch._set_producer_state(7, 1, 0)
        batch._build()
    built = process_time()
    pipeline.users.commit(changes)
    return packed - begun, built - packed, process_time() - built


def all_ways() -> list[Way]:
    """Return the engines, and the compiled one as it was."""
    compiled = open_engine("compiled")
    return [Way("plain", PLAIN), Way("compiled", compiled), Way("one by one", compiled, one_by_one=True)]


def compare(count: int, users: int, rounds: int, ways: Sequence[Way]) -> dict[str, list[Took]]:
    """Return what each way took in each round, after one that is not counted."""
    fetched = fetches(events(count, users))
    gc.collect()
    gc.freeze()
    found: dict[str, list[Took]] = {way.name: [] for way in ways}
    for number in range(rounds + 1):
        for way in ways:
            with tempfile.TemporaryDirectory() as folder:
                took = run(way, fetched if number else fetched[:1], Path(folder) / "db")
            found[way.name].extend([took] if number else [])
    gc.unfreeze()
    return found


def ratios_of(found: dict[str, list[Took]], name: str) -> list[float]:
    """Return how many times the compiled engine's time another took, in each round."""
    return [other.all / one.all for other, one in zip(found[name], found["compiled"], strict=True)]


def figures_of(found: dict[str, list[Took]], count: int) -> list[Figure]:
    """Return each way's rate, and how many times the plain one's the compiled one's is."""
    rates = [Figure.of(name, OF_CPU, (count / one.all for one in runs)) for name, runs in found.items()]
    return [*rates, Figure.of("compiled to plain", TIMES, ratios_of(found, "plain"))]


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    add_json(options)
    options.add_argument("--events", type=int, default=200_000)
    options.add_argument("--users", type=int, default=5_000)
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    found = compare(chosen.events, chosen.users, chosen.rounds, all_ways())
    print(f"{chosen.events:,} events, {chosen.users:,} users, {chosen.rounds} rounds; ns of CPU an event, medians")
    print(f"{'':10}" + "".join(f"{step:>11}" for step in STEPS) + f"{'events a CPU second':>22}")
    for name, runs in found.items():
        steps = [median(getattr(one, step) for one in runs) / chosen.events * 1e9 for step in STEPS]
        print(f"{name:10}" + "".join(f"{step:11,.0f}" for step in steps) + f"{1e9 / steps[-1]:22,.0f}")
    for name in ("plain", "one by one"):
        ratios = ratios_of(found, name)
        print(f"{name} / compiled: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    write_figures(chosen.json, figures_of(found, chosen.events))


if __name__ == "__main__":
    main()
