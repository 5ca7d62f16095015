"""What it takes to find the interests of all users: CPU time a user, and what a million of them would take.

    python -m benchmarks.interests [--users 1000] [--actions 250] [--dim 64]

Users are made up: actions on different items, in as many directions, the hardest case, as hardly any of them merge.
CPU time of one thread, clustering, medoids and publishing; reading a log is not in it. Other work on the machine does
not count, though it may take caches away.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import thread_time

import numpy as np

from rankstream.features.actions import ActionColumns
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.ids import Id, id_keys
from rankstream.models.users.pinnersage import PinnerSageConfig, find_interests

NOW_MS = 1_700_000_000_000
ITEMS, DAYS_MS = 20_000, 90 * 86_400_000
AIM_MINUTES = 30  # of CPU time, a million users


def some_histories(users: int, actions: int, seed: int = 0) -> Iterator[tuple[Id, ActionColumns]]:
    """Yield users with so many actions each, newest first."""
    rng, keys, ones = np.random.default_rng(seed), id_keys(range(ITEMS)), np.ones(actions, np.int64)
    for user in range(users):
        items = keys[rng.choice(ITEMS, actions, replace=False)]
        times_ms = NOW_MS - np.sort(rng.integers(0, DAYS_MS, actions))
        yield user, ActionColumns(items, ones, times_ms, ones, ones.astype(np.float32))


def main() -> None:
    """Print the time a user."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000)
    parser.add_argument("--actions", type=int, default=250)
    parser.add_argument("--dim", type=int, default=64)
    given = parser.parse_args()
    vectors = np.random.default_rng(1).standard_normal((ITEMS, given.dim)).astype(np.float32)
    items, histories = ItemTable(np.arange(ITEMS), vectors), list(some_histories(given.users, given.actions))
    with tempfile.TemporaryDirectory() as root:
        started = thread_time()
        found = find_interests(
            items, histories, lambda actions: np.ones(len(actions), np.bool_), Path(root),
            item_space="made-up", as_of_ms=NOW_MS, config=PinnerSageConfig(),
        )  # fmt: skip
        each_s = (thread_time() - started) / given.users
    print(
        f"{given.users:,} users of {given.actions:,} actions, {found.interests / found.users:.0f} interests each: "
        f"{1e3 * each_s:.2f} ms a user, {each_s * 1e6 / 60:.1f} CPU-minutes a million (aim {AIM_MINUTES})"
    )


if __name__ == "__main__":
    main()
