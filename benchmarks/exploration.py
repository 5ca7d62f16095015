"""How much ``--exploration-temperature`` explores on a bundle: how often another item than the best is first.

    python -m benchmarks.exploration LOG --bundle DIR [--user-vectors DIR] [--temperature 0.1]

Replays a log and, at actions after the bundle's training, ranks 50 candidates for the user: those that retrieval
proposes, and 50 drawn as often as they are acted on. Both temperatures are compared, in units of the score and of the
spread of the request's scores; probabilities are exact, nothing is sampled.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rankstream.events.arrivals import Arrivals
from rankstream.events.open import LogOptions, open_log
from rankstream.features.ids import id_bytes
from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.exploration import Exploration
from rankstream.ranking.policies import Limits, PlackettLuce, Policy, RelativePlackettLuce
from rankstream.ranking.request import RankingRefusedError, RankingRequest
from rankstream.ranking.serving import LiveRanker
from rankstream.ranking.utility import Scores
from rankstream.streams.pipeline import Pipeline

CANDIDATES = 50
REQUESTS = 400  # of each kind, spread over the rows after the training's end


def main() -> None:
    """Rank, compare, print."""
    options = argparse.ArgumentParser()
    options.add_argument("log", type=Path)
    options.add_argument("--bundle", type=Path, required=True)
    options.add_argument("--user-vectors", type=Path)
    options.add_argument("--temperature", type=float, default=0.1)
    given = options.parse_args()
    found: dict[str, list[Scores]] = {"retrieved": [], "drawn": []}
    for kind, scores in ranked(given.log, given.bundle, given.user_vectors):
        found[kind].append(scores)
    for kind, rows in found.items():
        print(f"{kind}: {len(rows)} requests, range of scores {np.median([np.ptp(row) for row in rows]):.3f}")
        for name, policy in (
            ("of the score", PlackettLuce(given.temperature)),
            ("of the spread", RelativePlackettLuce(given.temperature)),
        ):
            changes = [1 - _certainty(policy, row) for row in rows]
            entropies = [Exploration(policy).entropy(row) or 0.0 for row in rows]
            print(
                f"  in units {name:13}  another item first {np.mean(changes):6.1%} "
                f"(deciles {np.quantile(changes, 0.1):.1%} to {np.quantile(changes, 0.9):.1%}), "
                f"entropy {np.mean(entropies):.0%} of uniform"
            )


def ranked(log: Path, bundle: Path, user_vectors: Path | None) -> Iterator[tuple[str, Scores]]:
    """Yield the scores of requests for users who act after the bundle's training, as of just before they do."""
    serving = LiveRanker.open(bundle, user_vectors)
    until_ms = open_bundle(bundle).manifest.trained_until_ms
    arrivals = list(open_log(log, LogOptions(sort=True)).batches(serving.vocabulary))
    after = sum(int(np.count_nonzero(batch.times_ms >= until_ms)) for batch in arrivals)
    pipeline, rng = Pipeline(UserCache(MemoryStore()), serving), np.random.default_rng(0)
    seen: list[int | str] = []
    for batch in arrivals:
        asked = (batch.times_ms >= until_ms) & (rng.random(len(batch)) < REQUESTS / max(1, after))
        applied = 0
        for row in np.flatnonzero(asked).tolist():
            _apply(pipeline, batch.rows(slice(applied, row)))
            applied = row
            state = pipeline.users.get(id_bytes(batch.user_ids[row]))
            drawn = dict.fromkeys(seen[at] for at in rng.integers(0, max(1, len(seen)), 8 * CANDIDATES) if seen)
            for kind, candidates in (("retrieved", None), ("drawn", tuple(drawn)[:CANDIDATES] or None)):
                request = RankingRequest(row, batch.user_ids[row], candidates, limit=None if candidates else CANDIDATES)
                try:
                    ranking = serving.current.rank(request, state, int(batch.times_ms[row]))
                except RankingRefusedError:  # nothing proposed to a user of whom nothing is known
                    continue
                if len(ranking.items) > 1:
                    yield kind, np.array([item.score for item in ranking.items])
        _apply(pipeline, batch.rows(slice(applied, len(batch))))
        seen += [item for item, ms in zip(batch.item_ids, batch.times_ms.tolist(), strict=True) if ms < until_ms]


def _apply(pipeline: Pipeline, arrivals: Arrivals) -> None:
    if len(arrivals):
        pipeline.apply(arrivals.user_keys, arrivals.packed, arrivals.offsets)


def _certainty(policy: Policy, scores: Scores) -> float:
    """Return the probability that the best item is first."""
    return float(policy.next_propensities(scores, (), Limits())[scores.argmax()])


if __name__ == "__main__":
    main()
