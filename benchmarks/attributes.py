"""What it costs a request that the ranker is told what its candidates are, plain and compiled.

    python -m benchmarks.attributes BUNDLE

The bundle is one that was trained with `--items`. The join of 256 of its items for a user with 100 actions, as the
bundle has them and as a version of the item vectors has them that describes every tenth item (`rankstream embed
--items`); the part of the join that makes the columns of attributes; the score. CPU time, one after the other within
each round, so that other work on the machine meets all alike, and each behind a scoring, as in a worker. Without numba
there are no compiled rows.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.catalogue import AS_OF_MS, a_user
from benchmarks.join import joins, times_of
from rankstream.features.attributes.columns import attribute_columns, column_names
from rankstream.features.embeddings.base import NoVectors, WithRows
from rankstream.features.join import Join, OfflineFeatures, join, match_user
from rankstream.features.user_view import view_user
from rankstream.ranking.bundle import open_bundle

CANDIDATES, ROUNDS, DESCRIBED = 256, 100, 10


def with_described(offline: OfflineFeatures, keys: np.ndarray) -> OfflineFeatures:
    """Return tables in which items with these sorted keys have the counts to expect of them, not their own."""
    expected = np.ones((len(keys), offline.item_features.dim), np.float32)
    return replace(offline, item_features=WithRows(offline.item_features, keys, expected))


def main() -> None:
    """Print medians, the share of the columns, and what the compiled joins take of the plain ones' time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    bundle = open_bundle(parser.parse_args().bundle)
    offline, state = bundle.offline_features(NoVectors(bundle.manifest.sizes.user_dim)), a_user(bundle)
    rng, keys = np.random.default_rng(1), np.asarray(bundle.items.keys)
    candidates = rng.choice(keys, min(CANDIDATES, len(keys)), replace=False)
    described = with_described(offline, keys[::DESCRIBED])
    user = view_user(state, 1, AS_OF_MS, offline.users)
    inputs = join(match_user(state, 1, AS_OF_MS, offline), candidates, offline)

    def joined(how: Join, offline: OfflineFeatures) -> Callable[[], object]:
        return lambda: how(match_user(state, 1, AS_OF_MS, offline), candidates, offline, 0)

    steps: dict[str, Callable[[], object]] = {
        "columns": lambda: attribute_columns(user, candidates, offline.attributes),
        "score": lambda: bundle.backend.score(inputs),
    }
    for name, how in joins().items():
        steps |= {f"join, {name}": joined(how, offline), f"described, {name}": joined(how, described)}
    found, names = times_of(steps, ROUNDS, between=steps["score"]), offline.attributes.names
    median = {name: float(np.median(times)) for name, times in found.items()}
    print(f"{len(column_names(names))} columns of {', '.join(names.facets)}, {len(offline.attributes):,} items")
    for name, ms in median.items():
        print(f"{name:>19} {ms:.3f} ms")
    share = median["columns"] / (median["join, plain"] - median["columns"])
    print(f"the plain join takes {share:.1%} more than without the columns")
    for what in ("join", "described") if "join, compiled" in median else ():
        ratio = median[f"{what}, compiled"] / median[f"{what}, plain"]
        print(f"{what}: compiled, {ratio:.2f} of the plain one's time")


if __name__ == "__main__":
    main()
