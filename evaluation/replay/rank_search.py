"""The rank of one item among a large catalogue, without scoring all of it.

::

    others, in a random order     . . x . . . . x . | . x . . . . . .        x: ranks above the item
    scored in blocks until          1           2         3                  enough are above it, or none is left
                                                          t = 11

Metrics at k ask whether an item ranks among the first k, and where. Once more than k others are above it, it does not,
so HIT@k, recall@k and NDCG@k are those of the whole catalogue, exactly; most items are decided by a few hundred scores.
Only 1 / rank is then an estimate. With ``c`` of ``n`` others found above after ``t`` scores, t / (c (n + 1)) is
unbiased for it: the c-th of M marked among n comes on average after c (n + 1) / (M + 1) of them (inverse
hypergeometric sampling; Johnson, Kemp and Kotz, Univariate Discrete Distributions, 2005, chapter 6). Its error is
independent from query to query, so intervals over users hold it.

A fixed sample can't do this: the rank among 100 of 50,000 says nearly nothing about the first 10 (Krichene and Rendle,
On Sampled Metrics for Item Recommendation, KDD 2020).
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from rankstream.features.ids import Id, Keys, id_key
from rankstream.features.join import join, match_user
from rankstream.features.user_state import UserState
from rankstream.metrics.arrays import Ints
from rankstream.ranking.ranker import NO_SCORE, USER_FOUND, Ranker, without_newer_types
from rankstream.ranking.request import RankingRefusedError
from rankstream.ranking.utility import Scores, utility

FIRST_BLOCK, LARGEST_BLOCK = 256, 8_192  # candidates that are scored at once; each block is twice the last one
MIN_ABOVE = 20  # found above before a search ends: 1 / rank is then estimated with an error of at most 23 %


@dataclass(frozen=True)
class Search:
    """How far to search, and in which order."""

    enough: int  # others above, from which on the rank need not be known
    rng: np.random.Generator

    def rank(self, scores_of: Callable[[Ints], Scores], count: int, target: int) -> float:
        """Return the rank, from 1, of the row ``target`` among ``count`` candidates; equal scores in their order.

        It is exact if at most ``enough`` are above; if there are more, it is an estimate that is larger than ``enough``
        and whose inverse is unbiased. ``scores_of`` returns the scores of rows, the same whichever are asked for.
        """
        others = self.rng.permutation(count - 1)
        others += others >= target
        mine: float | None = None
        above, start, block = 0, 0, FIRST_BLOCK
        while start < len(others):
            rows = others[start : start + block]
            if mine is None:
                scores = scores_of(np.append(rows, target))
                mine, scores = float(scores[-1]), scores[:-1]
            else:
                scores = scores_of(rows)
            found = np.flatnonzero((scores > mine) | ((scores == mine) & (rows < target)))
            if above + len(found) > self.enough:
                scored = start + int(found[self.enough - above]) + 1
                return (self.enough + 1) * (len(others) + 1) / scored
            above, start, block = above + len(found), start + len(rows), min(2 * block, LARGEST_BLOCK)
        return 1.0 + above


class Scorer:
    """One user as of one time, as a ranker scores items for them; the join that serves, without the bytes around it."""

    def __init__(self, ranker: Ranker, user_id: Id, at_ms: int, state: UserState, surface: int = 0) -> None:
        self._ranker, self._surface = ranker, surface
        self._user = match_user(state, id_key(user_id), at_ms, ranker.offline)
        self.seconds = 0.0  # in the model
        self.action_ages_ms: Ints = np.zeros(0, np.int64)  # newest first, once something was scored
        self.user_vector_found = False

    def scores(self, keys: Keys) -> Scores:
        """Return the scores ``(N,)`` of items, as ``Ranker.rank`` gives them. Raises ``RankingRefusedError``."""
        offline = self._ranker.offline
        inputs = without_newer_types(join(self._user, keys, offline, self._surface), self._ranker.num_types)
        started = perf_counter()
        probabilities = self._ranker.backend.score(inputs)
        self.seconds += perf_counter() - started
        self.action_ages_ms, self.user_vector_found = inputs.action_ages_ms, bool(inputs.context[USER_FOUND])
        scores = utility(probabilities, self._ranker.weights)
        if not np.isfinite(scores).all():
            raise RankingRefusedError(NO_SCORE, f"model {self._ranker.model_version} gave a score that is no number")
        return scores
