"""What an event costs, and what a worker holds, by how many users it has: 10,000, 100,000, a million.

    python -m benchmarks.users [--users 10000,100000,1000000] [--events 400000] [--cached 100000] [--json FILE]

Each number in a process of its own, which begins with a store of that many users, 100 actions and a session state each.
The compiled engine applies events to it as ``engine.py`` does, with a checkpoint every 100,000; the first half warms up
and the second is measured, in CPU time of the process, RocksDB's background included. "zipf" are users as in the other
benchmarks, a few of whom act most; "alike" draws each as often as any other, the worst that can be. ``--cached`` is the
setting ``cached_users``. Bytes a user are what lies in the folder once RocksDB has merged all of it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time

import msgspec
import numpy as np

from benchmarks.engine import CHECKPOINT, CHUNK, STEPS, Took, checkpoint, fetches, read
from benchmarks.figures import Figure, add_json, write_figures
from benchmarks.pipeline import StateOnly
from benchmarks.workload import START_MS, Event, events
from rankstream.features.actions import ACTION_BYTES, ITEM, pack_action
from rankstream.features.history import History
from rankstream.features.sessions import SessionTail
from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.rocksdb import RocksStore
from rankstream.features.user_state import UserState
from rankstream.streams.engine import open_engine
from rankstream.streams.partitioner import PartitionCheck

ACTIONS, STATE_BYTES, AT_ONCE = 100, 128, 20_000
DRAWN = ("zipf", "alike")
HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Held:
    """What one number of users took."""

    users: int
    drawn: str
    steps_ns: list[float]  # of CPU an event, by ``STEPS``
    looked_up: float  # users read from the store, an event
    written: float  # states that a checkpoint wrote, an event
    before_mb: float  # resident before the first event
    after_mb: float
    cached: int  # users in memory at the end
    bytes_a_user: float  # on disk, once all is merged


def states(users: int, seed: int = 7) -> Iterator[dict[bytes, bytes]]:
    """Yield the states of all users, many at a time: one state with items of each user's own."""
    rng = np.random.default_rng(seed)
    newest_first = (pack_action(START_MS - HOUR_MS - 60_000 * n, 1, 1 << 62, 0, 0) for n in range(ACTIONS))
    history = History(b"".join(newest_first))
    tail = SessionTail(rng.bytes(16), START_MS - 9 * HOUR_MS, 7, rng.bytes(STATE_BYTES))
    record = np.frombuffer(UserState(history, tail, total=ACTIONS).pack(), np.uint8)
    at = record.tobytes().index(history.packed)
    for begin in range(0, users, AT_ONCE):
        count = min(AT_ONCE, users - begin)
        made = np.tile(record, (count, 1))
        actions = made[:, at : at + ACTIONS * ACTION_BYTES].reshape(count, ACTIONS, ACTION_BYTES)
        # numbers of a million items, as the events have them: their first bytes are zeros
        items = rng.integers(1, 1_000_001, (count, ACTIONS)).astype(">u8").view(np.uint8)
        actions[:, :, ITEM] = items.reshape(count, ACTIONS, -1)
        made[:, at : at + ACTIONS * ACTION_BYTES] = actions.reshape(count, -1)
        yield {b"u%d" % (begin + row): made[row].tobytes() for row in range(count)}


def drawn(how: str, count: int, users: int) -> Iterator[Event]:
    """Yield events of users that are drawn so."""
    if how == "zipf":
        yield from events(count, users)
        return
    who = np.random.default_rng(1).integers(0, users, count).tolist()
    for user, event in zip(who, events(count, 1), strict=True):
        key = b"u%d" % user
        yield Event(key, event.value.replace(b'"u0"', b'"%b"' % key), event.timestamp_ms)


def resident_mb() -> float:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Counted(RocksStore):
    """A store that counts the users that are looked up."""

    looked_up = 0

    def get_many(self, keys: object) -> list[bytes | None]:
        """Return their records."""
        found = super().get_many(keys)  # type: ignore[arg-type]
        self.looked_up += len(found)
        return found


def merge(store: RocksStore) -> None:
    """Have RocksDB merge all of its files, as it does by and by."""
    store.flush()
    store._db.compact_range(None, None)


def measure(users: int, how: str, count: int, cached: int, folder: Path) -> Held:
    """Apply events to a store of so many users."""
    engine, store = open_engine("compiled"), Counted(folder)
    for records in states(users):
        store.write_unlogged(records)
    merge(store)
    fetched = fetches(drawn(how, count, users))
    kept: UserCache = engine.users(store, ACTIONS, cached)
    pipeline = engine.pipeline(kept, StateOnly(), wrong_partition=PartitionCheck(0, 1))  # type: ignore[arg-type]
    before_mb, offset, saved, begun, looked_up, written = resident_mb(), 0, 0, 0, 0, 0
    times = [0.0] * 5
    for data in fetched:
        if not begun and offset >= count // 2:
            times, begun, looked_up, written = [0.0] * 5, offset, store.looked_up, 0
        clock = process_time()
        records_read = read(data, engine, offset)
        times[0] += process_time() - clock
        clock = process_time()
        for at in range(0, len(records_read), CHUNK):
            assert not pipeline.on_actions(records_read[at : at + CHUNK])
        offset += len(records_read)
        times[1] += process_time() - clock
        if offset - saved >= CHECKPOINT or data is fetched[-1]:
            written += kept.num_changed
            took = checkpoint(pipeline, offset, False)
            times[2:] = [sum(pair) for pair in zip(times[2:], took, strict=True)]
            saved = offset
    measured, after_mb = offset - begun, resident_mb()
    steps = [getattr(Took(*times), step) / measured * 1e9 for step in STEPS]
    merge(store)
    bytes_a_user = sum(file.stat().st_size for file in folder.glob("*.sst")) / users
    of_events = ((store.looked_up - looked_up) / measured, written / measured)
    held = Held(users, how, steps, *of_events, before_mb, after_mb, kept.num_cached, bytes_a_user)
    store.close()
    return held


def in_a_process(users: int, how: str, count: int, cached: int) -> Held:
    """Measure in a process of its own."""
    words = [str(users), how, str(count), str(cached)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.users", "--be", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Held)


def main() -> None:
    """Print a line for each number of users, and each way to draw them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", default="10000,100000,1000000")
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--cached", type=int, default=100_000)
    parser.add_argument("--be", nargs=4, help=argparse.SUPPRESS)
    add_json(parser)
    chosen = parser.parse_args()
    if chosen.be:
        users, how, count, cached = chosen.be
        with tempfile.TemporaryDirectory() as folder:
            held = measure(int(users), how, int(count), int(cached), Path(folder) / "db")
        print(msgspec.json.encode(asdict(held)).decode())
        return
    print(f"{chosen.events:,} events, {chosen.cached:,} users cached; ns of CPU an event, MB resident")
    heads = (*STEPS, "looked up", "written", "MB before", "after", "cached", "bytes a user")
    print(f"{'users':>10} {'drawn':6}" + "".join(f"{head:>11}" for head in heads))
    figures = []
    for how in DRAWN:
        for users in map(int, chosen.users.split(",")):
            one = in_a_process(users, how, chosen.events, chosen.cached)
            steps = "".join(f"{step:11,.0f}" for step in one.steps_ns)
            shares = f"{one.looked_up:11.3f}{one.written:11.3f}"
            memory = f"{one.before_mb:11,.0f}{one.after_mb:11,.0f}{one.cached:11,}{one.bytes_a_user:13,.0f}"
            print(f"{users:10,} {how:6}{steps}{shares}{memory}", flush=True)
            name = f"{users:,} users, {how}"
            figures.append(Figure.of(name, "ns of CPU an event", [one.steps_ns[-1]]))
            figures.append(Figure.of(name, "MB resident", [one.after_mb]))
            figures.append(Figure.of(name, "bytes a user", [one.bytes_a_user]))
    write_figures(chosen.json, figures)


if __name__ == "__main__":
    main()
