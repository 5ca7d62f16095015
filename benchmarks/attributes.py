"""What it costs a request that the ranker is told what its candidates are.

    python -m benchmarks.attributes BUNDLE

The bundle is one that was trained with `--items`. The join of 256 of its items for a user with 100 actions, and the
part of it that makes these columns, CPU time, one after the other within each round, so that other work on the machine
meets both alike; then the score.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np

from benchmarks.catalogue import AS_OF_MS, a_user
from rankstream.features.attributes.columns import attribute_columns, column_names
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.join import join, match_user
from rankstream.features.user_view import view_user
from rankstream.ranking.bundle import open_bundle

CANDIDATES, ROUNDS = 256, 300


def main() -> None:
    """Print medians, and the share of the columns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    bundle = open_bundle(parser.parse_args().bundle)
    offline, state = bundle.offline_features(NoVectors(bundle.manifest.sizes.user_dim)), a_user(bundle)
    rng = np.random.default_rng(1)
    candidates = rng.choice(np.asarray(bundle.items.keys), min(CANDIDATES, len(bundle.items)), replace=False)
    user = view_user(state, 1, AS_OF_MS, offline.users)
    inputs = join(match_user(state, 1, AS_OF_MS, offline), candidates, offline)
    steps: dict[str, Callable[[], object]] = {
        "join": lambda: join(match_user(state, 1, AS_OF_MS, offline), candidates, offline),
        "columns": lambda: attribute_columns(user, candidates, offline.attributes),
        "score": lambda: bundle.backend.score(inputs),
    }
    taken = {name: np.zeros(ROUNDS) for name in steps}
    for at in range(ROUNDS):
        for name, step in steps.items():
            started = process_time()
            step()
            taken[name][at] = process_time() - started
    names = offline.attributes.names
    print(f"{len(column_names(names))} columns of {', '.join(names.facets)}, {len(offline.attributes):,} items")
    median = {name: 1e3 * float(np.median(times)) for name, times in taken.items()}
    for name, ms in median.items():
        print(f"{name:>8} {ms:.3f} ms")
    share = median["columns"] / (median["join"] - median["columns"])
    print(f"the join takes {share:.1%} more than without")


if __name__ == "__main__":
    main()
