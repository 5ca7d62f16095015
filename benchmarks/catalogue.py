"""What it costs to rank a whole catalogue, and to search the rank of one item in it instead.

    python -m benchmarks.catalogue BUNDLE

CPU time, for a user with 100 actions; the scores that a search takes are means over five orders of the catalogue.
"""

import argparse
from pathlib import Path
from time import process_time

import numpy as np

from rankstream.evaluation.replay.rank_search import MIN_ABOVE, Scorer, Search
from rankstream.features.actions import ACTION_BYTES, pack_actions
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.ids import id_keys
from rankstream.features.user_state import UserState
from rankstream.ranking.bundle import Bundle, open_bundle
from rankstream.ranking.serving import ranker_of

AS_OF_MS = 1_700_000_000_000
COUNTS = (256, 1_000, 10_000, 100_000)  # repeated items where the catalogue is smaller: the cost is the same
QUANTILES = (0.2, 0.05, 0.01, 0.001)


def a_user(bundle: Bundle, seed: int = 0) -> UserState:
    """Return the state of a user with 100 actions on items of the bundle."""
    rng, count = np.random.default_rng(seed), 100
    items = id_keys(list(bundle.items.ids(rng.integers(0, len(bundle.items), count))))
    times = AS_OF_MS - 60_000 * np.arange(count, 0, -1)
    packed = pack_actions(times, np.ones(count, np.int64), items, np.zeros(count, np.int64), np.zeros(count, np.int64))
    actions = [packed[at : at + ACTION_BYTES] for at in range(0, len(packed), ACTION_BYTES)]
    return UserState().apply(actions, count - 1).state


def scores_taken(scores: np.ndarray, target: int) -> float:
    """Return how many scores a search takes, on average."""
    taken = []
    for seed in range(5):
        asked: list[int] = []

        def scores_of(rows: np.ndarray, asked: list[int] = asked) -> np.ndarray:
            asked.append(len(rows))
            return scores[rows]

        Search(MIN_ABOVE, np.random.default_rng(seed)).rank(scores_of, len(scores), target)
        taken.append(sum(asked))
    return float(np.mean(taken))


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    bundle = open_bundle(parser.parse_args().bundle)
    ranker = ranker_of(bundle, NoVectors(bundle.manifest.sizes.user_dim))
    scorer = Scorer(ranker, "u", AS_OF_MS, a_user(bundle))
    keys = id_keys(list(bundle.items.ids(np.arange(len(bundle.items)))))
    scores = scorer.scores(keys)
    for count in COUNTS:
        started = process_time()
        scorer.scores(np.resize(keys, count))
        print(f"{count:>9,} scores: {1e3 * (process_time() - started):,.0f} ms")
    order = np.argsort(-scores)
    for quantile in QUANTILES:
        taken = scores_taken(scores, int(order[int(quantile * len(order))]))
        print(f"of {len(keys):,} items, the wanted one at the top {quantile:.1%}: {taken:,.0f} scores")


if __name__ == "__main__":
    main()
