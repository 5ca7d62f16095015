"""A bundle beside the one that serves, before it does: how long it takes and how it orders, on made-up requests.

Users have done random things with random items, so the order says how much changes, not what is better: for that there
is replay. The times say what a worker will need; the two take turns, so other work on the machine hits both.
"""

from dataclasses import dataclass
from statistics import median
from time import perf_counter

import numpy as np

from rankstream.features.actions import pack_action
from rankstream.features.ids import Id, id_key
from rankstream.features.user_state import UNKNOWN_USER, UserState
from rankstream.ranking.bundle import Bundle
from rankstream.ranking.ranker import Ranker
from rankstream.ranking.request import RankingRequest

CANDIDATES, ACTIONS, TOP = 256, 20, 10
WARM_UP = 5  # requests that are not measured
MINUTE_MS = 60_000


@dataclass(frozen=True)
class Trial:
    """What came of it."""

    median_ms: float  # of the new one
    serving_ms: float  # of the one that serves
    in_common: float  # of the TOP best items, on average

    @property
    def ratio(self) -> float:
        """How many times as long the new one takes."""
        return self.median_ms / max(self.serving_ms, 1e-9)


def trial(new: Ranker, serving: Ranker, bundle: Bundle, requests: int, seed: int = 0) -> Trial:
    """Rank the same made-up requests by both, of items of the new one's ``bundle``."""
    rng = np.random.default_rng(seed)
    took: dict[int, list[float]] = {0: [], 1: []}
    common = []
    for number in range(requests + WARM_UP):
        request, state = _made_up(bundle, number, rng)
        best = []
        for which, ranker in enumerate((new, serving)):
            started = perf_counter()
            ranking = ranker.rank(request, state, bundle.manifest.trained_until_ms)
            took[which].append(1e3 * (perf_counter() - started))
            best.append({item.item_id for item in ranking.items})
        common.append(len(best[0] & best[1]))
    of_new, of_serving = (median(took[which][WARM_UP:]) for which in (0, 1))
    return Trial(of_new, of_serving, float(np.mean(common[WARM_UP:])))


def _made_up(bundle: Bundle, number: int, rng: np.random.Generator) -> tuple[RankingRequest, UserState]:
    until_ms, codes = bundle.manifest.trained_until_ms, len(bundle.manifest.vocabulary.actions)
    items = _some(bundle, CANDIDATES + ACTIONS, rng)
    actions = [
        pack_action(until_ms - (ACTIONS - at) * MINUTE_MS, int(rng.integers(1, codes + 1)), id_key(item), 0, 0)
        for at, item in enumerate(items[:ACTIONS])
    ]
    state = UNKNOWN_USER.apply(actions, len(actions)).state
    return RankingRequest(f"r{number}", f"u{number}", candidates=tuple(items[ACTIONS:] or items), top_k=TOP), state


def _some(bundle: Bundle, count: int, rng: np.random.Generator) -> list[Id]:
    rows = rng.permutation(len(bundle.items))[:count]
    return bundle.items.ids(rows)
