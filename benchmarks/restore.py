"""How fast a partition's users are restored from the changelog, apart from fetching.

    python -m benchmarks.restore [--users 200000] [--rounds 3] [--again 0.1] [--json FILE]

Records of users with 100 actions and a session state, 1.8 KB each, as raw batches: they are decoded, with their
checksums, and put into an empty RocksDB. CPU time of the whole process, so with what RocksDB does beside. "looked up"
looks each user up and writes to the log, "at once" does not; "plain" holds 32 MB and hands them over as a file, and
"compiled" reads batches as columns, too. They take turns. A share of the users (``--again``) comes twice, as in a
changelog that is not compacted yet.
"""

import argparse
import resource
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import numpy as np
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from faust.types import TP

from benchmarks.figures import Figure, add_json, write_figures
from rankstream.features.actions import ACTION_BYTES
from rankstream.features.history import History
from rankstream.features.sessions import SessionTail
from rankstream.features.stores.rocksdb import POSITION, RocksStore
from rankstream.features.user_state import UserState
from rankstream.streams.columns import AsColumns, in_one
from rankstream.streams.engine import open_engine
from rankstream.streams.worker.changelog import HELD_BYTES, RECORDS_AT_ONCE, RestoreJob
from rankstream.streams.worker.newest_offsets import NewestOffsets
from rankstream.streams.worker.offsets import Bounds
from rankstream.streams.worker.unpacked_columns import partition_records
from rankstream.streams.worker.unpacking import LedRecords

WAYS = ("looked up", "at once", "plain", "compiled")
ACTIONS, STATE_BYTES, BATCH_BYTES = 100, 128, 1 << 20
LOG = TopicPartition("user-state-changelog", 0)


class PlainStore(RocksStore):
    """Writes everything to the log, as a restore did."""

    def write_unlogged(self, records: dict[bytes, bytes]) -> None:  # type: ignore[override]
        """Write to the log too."""
        self.write(records, None)


def raw_batches(users: int, again: float) -> Iterator[bytes]:
    """Yield batches as a broker sends them; the position comes last."""
    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(users), rng.integers(0, users, int(again * users))])
    noise = rng.bytes(1 << 20)
    builder, count = None, 0
    for offset, user in enumerate(order.tolist()):
        start = int(user) * 61 % 900_000
        history = History(noise[start : start + ACTIONS * ACTION_BYTES])
        tail = SessionTail(noise[start : start + 16], 1, 7, noise[start : start + STATE_BYTES])
        packed = UserState(history, tail, offset, ACTIONS).pack()
        if builder is None or builder.append(count, 0, b"u%d" % user, packed, []) is None:
            if builder is not None:
                yield bytes(builder.build())
            builder, count = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, BATCH_BYTES), 0
            builder.append(count, 0, b"u%d" % user, packed, [])
        count += 1
    assert builder is not None
    builder.append(count, 0, POSITION, len(order).to_bytes(8, "little"), [])
    yield bytes(builder.build())


def restore(folder: Path, batches: list[bytes], way: str) -> tuple[float, float]:
    """Return the CPU seconds of decoding and of applying."""
    store = (PlainStore if way == "looked up" else RocksStore)(folder)
    job = RestoreJob(TP(*LOG), store, Bounds(0, 1))
    job.written = None if way == "looked up" else NewestOffsets()
    job.sound_states = open_engine("compiled").sound_states if way == "compiled" else None
    job.hold_bytes = HELD_BYTES if way in ("plain", "compiled") else 0
    decoding = applying = 0.0
    for raw in batches:
        begun = process_time()
        records = decoded_of(raw, way == "compiled")
        decoded = process_time()
        for start in range(0, len(records), RECORDS_AT_ONCE):
            job.apply(records[start : start + RECORDS_AT_ONCE])
        decoding, applying = decoding + decoded - begun, applying + process_time() - decoded
    begun = process_time()
    job.finish()
    store.close()
    return decoding, applying + process_time() - begun


def decoded_of(raw: bytes, as_columns: bool) -> Sequence[Any]:
    """Return the records of a batch."""
    if as_columns:
        return in_one(list(partition_records(LOG, LedRecords(raw), [], 0, AsColumns(LOG.topic, True), None, True, 0)))
    return list(PartitionRecords(LOG, MemoryRecords(raw), [], 0, None, None, True, 0))


def main() -> None:
    """Print users a second of CPU, each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--again", type=float, default=0.1)
    add_json(parser)
    chosen = parser.parse_args()
    batches = list(raw_batches(chosen.users, chosen.again))
    count = int(chosen.users * (1 + chosen.again))
    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for number in range(chosen.rounds):
        for name, times in taken.items():
            with tempfile.TemporaryDirectory() as folder:
                times.append(restore(Path(folder) / "db", batches, name))
        print(f"round {number + 1}: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB at most")
    print(f"{count:,} records of {sum(map(len, batches)) // count:,} bytes, {chosen.users:,} users")
    for name, times in taken.items():
        decoding, applying = (1e6 * median(column) / count for column in zip(*times, strict=True))
        rate = 1e6 / (decoding + applying)
        print(f"  {name:9} decode {decoding:.2f} us, apply {applying:.2f} us a record: {rate:,.0f} a second of CPU")
    rates = {name: [count / (decoding + applying) for decoding, applying in times] for name, times in taken.items()}
    write_figures(chosen.json, [Figure.of(name, "users/s of CPU", each) for name, each in rates.items()])


if __name__ == "__main__":
    main()
