"""How good a ranking is, by the ranks of its relevant items.

::

    ranking   b e a d c     relevant  a, c     ranks  [3, 5]     HIT@3 1   recall@3 1/2   MRR 1/3
                                                               HIT@1 0   recall@1 0/2   capped recall@1 0/1

``hit``, ``recall``, ``ndcg`` and ``reciprocal_rank`` take the ranks of one query, from 1; a relevant item that was not
ranked has the rank infinity or none, and is a miss. ``random_hit`` and ``random_ndcg`` are what a random order is
expected to reach, exact. ``recalls`` and ``reciprocal_ranks`` take those of many queries, from 0.
"""

from collections.abc import Sequence
from math import comb

import numpy as np
import numpy.typing as npt

from rankstream.metrics.arrays import Floats, Ints

Ranks = Floats  # of the relevant items of one query, from 0; ties may give halves

# One query, ranks from 1 ----------------------------------------------------------------------------------------------


def rank_of(candidate: int, scores: npt.NDArray[np.floating]) -> int:
    """Return the rank, from 1, of a candidate by its score ``(N,)``; equal scores rank in candidate order."""
    mine = scores[candidate]
    return 1 + int(np.count_nonzero(scores > mine) + np.count_nonzero(scores[:candidate] == mine))


def hit(ranks: Floats | Ints, k: int) -> float:
    """Return 1 if any relevant item is among the first ``k``."""
    return float(bool(len(ranks)) and bool(ranks.min() <= k))


def recall(ranks: Floats | Ints, k: int) -> float:
    """Return the share of all relevant items that is among the first ``k``, as trec_eval's ``recall_k`` does.

    With more than ``k`` relevant items it can't reach 1; ``capped_recall`` can.
    """
    return float(np.count_nonzero(ranks <= k)) / len(ranks) if len(ranks) else 0.0


def capped_recall(ranks: Floats | Ints, k: int) -> float:
    """Return how many relevant items are among the first ``k``, of as many as fit there: ``min(k, relevant)``.

    Source: Thakur et al., BEIR, NeurIPS 2021 (``recall_cap@k``).
    """
    return float(np.count_nonzero(ranks <= k)) / min(k, len(ranks)) if len(ranks) else 0.0


def ndcg(ranks: Floats | Ints, k: int) -> float:
    """Return the discounted gain, 1 / log2(rank + 1) for each relevant item among the first ``k``, of the ideal one."""
    if not len(ranks):
        return 0.0
    ideal = (1.0 / np.log2(np.arange(1, min(k, len(ranks)) + 1) + 1)).sum()
    return float((1.0 / np.log2(ranks[ranks <= k] + 1)).sum() / ideal)


def reciprocal_rank(ranks: Floats | Ints) -> float:
    """Return 1 / the first relevant item's rank; MRR is its mean over queries."""
    return 1.0 / float(ranks.min()) if len(ranks) else 0.0


def random_hit(relevant: int, candidates: int, k: int) -> float:
    """Return the expected ``hit`` of a random order: exact, not sampled."""
    if relevant == 0:
        return 0.0
    orders, misses = comb(candidates, k), comb(candidates - relevant, k)
    return 1.0 if k >= candidates else (orders - misses) / orders


def random_ndcg(relevant: int, candidates: int, k: int) -> float:
    """Return the expected ``ndcg`` of a random order: exact, not sampled."""
    if relevant == 0:
        return 0.0
    gains = 1.0 / np.log2(np.arange(1, min(k, candidates) + 1) + 1)
    return float(gains.sum() * relevant / candidates / gains[: min(k, relevant)].sum())


# Many queries, ranks from 0 -------------------------------------------------------------------------------------------


def recalls(ranks: Sequence[Ranks], k: int) -> Floats:
    """Return each query's recall@k, ``(n,)``: of all its relevant items, also where more than ``k`` are relevant."""
    return np.array([np.mean(one < k) for one in ranks], np.float64)


def reciprocal_ranks(ranks: Sequence[Ranks]) -> Floats:
    """Return each query's 1 / (1 + the best rank of its relevant items), ``(n,)``."""
    return np.array([1.0 / (1.0 + one.min()) for one in ranks], np.float64)


# One head, each positive among the negatives --------------------------------------------------------------------------
