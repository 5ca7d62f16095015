"""Events a second of a replay for state alone: a file of actions through the readers and the pipeline, no broker.

    python -m benchmarks.replay [EVENTS] [--users N] [--rounds 1] [--json FILE]

Makes a log of 50,000 users (Zipf) and 200,000 items (Zipf) as Parquet and as JSON lines, and replays each with both
engines, each time in a process of its own: seconds on the clock, of which seconds for reading, CPU, and the largest
resident memory, of the whole log and of a quarter of its events over the same users.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.figures import OF_CPU, Figure, add_json, write_figures
from benchmarks.pipeline import StateOnly
from benchmarks.workload import START_MS, VOCABULARY
from rankstream.evaluation.replay.variants import DelayedPipeline
from rankstream.events.open import open_log
from rankstream.features.history import DEFAULT_LIMIT
from rankstream.streams.engine import open_engine
from rankstream.streams.settings import ENGINES

ITEMS = 200_000
ROW_GROUP = 100_000


def main() -> None:
    """Make the logs, replay them, print."""
    options = argparse.ArgumentParser()
    options.add_argument("events", type=int, nargs="?", default=1_000_000)
    options.add_argument("--users", type=int, default=50_000)
    options.add_argument("--rounds", type=int, default=1)
    add_json(options)
    options.add_argument("--engine", choices=ENGINES, help="of a log that is replayed with --one")
    options.add_argument("--one", type=Path, help="replay this log and print its measurements as JSON")
    given = options.parse_args()
    if given.one:
        print(json.dumps(replay(given.one, given.engine)))
        return
    found: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in (given.events // 4, given.events):
            for path in write_logs(Path(folder), count, given.users):
                for engine in ("plain", "compiled") * given.rounds:
                    one = _in_a_process_of_its_own(path, engine)
                    _print(path, engine, one)
                    found.setdefault(f"{path.suffix[1:]}, {count:,} events, {engine}", []).append(one)
                path.unlink()
    write_figures(given.json, figures_of(found))


def figures_of(found: dict[str, list[dict[str, float]]]) -> list[Figure]:
    """Return the rate and the largest memory of each log and engine."""
    rates = [Figure.of(name, OF_CPU, (one["events"] / one["cpu"] for one in runs)) for name, runs in found.items()]
    peaks = [Figure.of(name, "MB at most", (one["peak_mb"] for one in runs)) for name, runs in found.items()]
    return rates + peaks


def replay(path: Path, engine_name: str) -> dict[str, float]:
    """Replay a log for state alone."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)  # the worker's
    at_start_mb = _peak_mb()
    engine = open_engine(engine_name)
    log, delayed = open_log(path), DelayedPipeline(StateOnly(), 0, DEFAULT_LIMIT, engine=engine)  # type: ignore[arg-type]
    begun, begun_cpu = time.perf_counter(), time.process_time()
    reading = 0.0
    batches = log.batches(VOCABULARY)
    while True:
        waited = time.perf_counter()
        arrivals = next(batches, None)
        reading += time.perf_counter() - waited
        if arrivals is None:
            break
        delayed.feed(arrivals, 0, len(arrivals))
    users, events = delayed.pipeline.users, delayed.applied
    seconds, cpu, peak_mb = time.perf_counter() - begun, time.process_time() - begun_cpu, _peak_mb()
    users.commit(users.take_changes(events))  # to be counted below
    return {
        "events": events,
        "seconds": seconds,
        "cpu": cpu,
        "reading": reading,
        "at_start_mb": at_start_mb,
        "peak_mb": peak_mb,
        "users": sum(1 for _ in users.store.items()),
        "state_mb": users.store.size_bytes() / 2**20,
    }


def _peak_mb() -> float:
    """Return the largest resident memory of this process; Linux, as ``ru_maxrss`` would be the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def write_logs(folder: Path, count: int, num_users: int) -> list[Path]:
    """Write the same events, in order of time with a few late, as Parquet and as JSON lines."""
    rng = np.random.default_rng(20240607)
    users = _by_zipf(rng, num_users, count)
    items = _by_zipf(rng, ITEMS, count)
    kinds = rng.integers(0, len(VOCABULARY.actions), count)
    times = START_MS + np.cumsum(rng.integers(0, 201, count)) - rng.choice([0, 30_000], count, p=[0.97, 0.03])
    values = np.round(rng.exponential(20, count), 2)
    names = pa.array(VOCABULARY.actions)
    columns = {
        "user_id": pa.array([f"u{user}" for user in users]),
        "item_id": pa.array(items),
        "action": pa.DictionaryArray.from_arrays(pa.array(kinds), names).dictionary_decode(),
        "timestamp_ms": pa.array(times),
        "value": pa.array(values, mask=rng.random(count) < 0.5),
    }
    table = pa.table(columns)
    paths = [folder / f"{count}.parquet", folder / f"{count}.jsonl"]
    pq.write_table(table, paths[0], row_group_size=ROW_GROUP)
    with paths[1].open("wb") as lines:
        for batch in table.to_batches(max_chunksize=ROW_GROUP):
            for row in batch.to_pylist():
                lines.write(msgspec.json.encode({name: value for name, value in row.items() if value is not None}))
                lines.write(b"\n")
    return paths


def _by_zipf(rng: np.random.Generator, kinds: int, count: int) -> np.ndarray:
    heights = np.cumsum(1.0 / np.arange(1, kinds + 1))
    sampled = np.searchsorted(heights / heights[-1], rng.random(count))
    return rng.permutation(kinds)[sampled]


def _in_a_process_of_its_own(path: Path, engine: str) -> dict[str, float]:
    """Replay, so that the largest memory is that of this log alone."""
    command = [sys.executable, "-m", "benchmarks.replay", "--one", str(path), "--engine", engine]
    done = subprocess.run(command, env=os.environ, capture_output=True, check=True, text=True)
    return json.loads(done.stdout)


def _print(path: Path, engine: str, found: dict[str, float]) -> None:
    print(
        f"{path.suffix:8} {engine:8} {found['events']:>9,} events in {found['seconds']:5.2f} s "
        f"({found['events'] / found['seconds']:>7,.0f}/s; {found['reading']:.2f} s of it reading; "
        f"{found['cpu']:.2f} s of CPU, {found['events'] / found['cpu']:,.0f} a second), "
        f"peak {found['peak_mb']:,.0f} MB ({found['at_start_mb']:,.0f} at the start), "
        f"{found['users']:,} users' states {found['state_mb']:,.0f} MB"
    )


if __name__ == "__main__":
    main()
