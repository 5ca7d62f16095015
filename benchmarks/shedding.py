"""What answering by popularity takes in the pipeline, bytes to bytes, beside ranking: no brokers, one thread.

    python -m benchmarks.shedding --bundle DIR [--rounds 500]

The least of many rounds is printed, which a busy machine leaves alone. Requests have 256 candidates and ask for 50.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np

from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.ranking.request import RankingRequest
from rankstream.ranking.serving import LiveRanker
from rankstream.streams.pipeline import Pipeline, wall_clock_ms
from rankstream.streams.records import Recorded, recorded_request

CANDIDATES, TOP_K, USERS, HISTORY = 256, 50, 2_000, 100
SIZES = (1, 12, 64)  # requests that are shed in one go


def requests_of(bundle: LiveRanker, count: int) -> list[Recorded]:
    """Return requests for items of the bundle, each for some that lie side by side."""
    if bundle.current.popularity is None:
        raise SystemExit("this bundle does not know how popular items are")
    table, rng = bundle.current.popularity.items, np.random.default_rng(0)
    items = table.ids(np.arange(len(table)))
    found = []
    for number in range(count):
        first = int(rng.integers(len(items) - CANDIDATES))
        candidates = tuple(items[first : first + CANDIDATES])
        request = RankingRequest(f"r{number}", f"u{rng.integers(USERS)}", candidates=candidates, top_k=TOP_K)
        found.append(recorded_request(request, number, wall_clock_ms()))
    return found


def least_s(work: Callable[[], object], rounds: int) -> float:
    """Return the shortest time that something took."""
    taken = []
    for _ in range(rounds):
        begun = perf_counter()
        work()
        taken.append(perf_counter() - begun)
    return min(taken)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bundle", type=Path, required=True)
    options.add_argument("--rounds", type=int, default=500)
    chosen = options.parse_args()
    live = LiveRanker.open(chosen.bundle)
    pipeline, records = Pipeline(UserCache(MemoryStore(), HISTORY), live), requests_of(live, max(SIZES))
    ranked = least_s(lambda: pipeline.on_requests(records[:1]).answer(), chosen.rounds)
    print(f"ranked, of a user without actions: {1e3 * ranked:.2f} ms a request")
    for size in SIZES:
        part = records[:size]
        read = least_s(lambda part=part: pipeline.on_too_many(part), chosen.rounds) / size
        shed = least_s(lambda part=part: pipeline.on_too_many(part).by_popularity(), chosen.rounds) / size
        print(f"shed, {size} in one go: {1e6 * shed:.0f} us a request, {1e6 * read:.0f} of them for reading it")


if __name__ == "__main__":
    main()
