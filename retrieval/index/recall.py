"""How many true neighbours an index finds, by how many are asked for and how hard it looks (``ef``).

Recall falls with the limit at the same ``ef``, so a curve holds, for each measured limit, the smallest ``ef`` that
finds enough. A limit in between takes that of the next larger one.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from rankstream.features.embeddings.float16 import Float16s, widen
from rankstream.features.embeddings.key_search import Rows
from rankstream.features.schema import Floats
from rankstream.retrieval.index.base import unit
from rankstream.retrieval.index.exact import ExactIndex

LIMITS = (10, 50, 100, 200, 500, 1_000, 2_000, 5_000)  # 5,000: candidates of a request at most
STEPS = (1, 1.25, 1.5, 2, 3, 4, 6, 8, 12, 16, 24)  # values of ef that are tried, times the limit
LEAST_EF = 50  # a walk that keeps fewer rows may end where it began
TARGET = 0.985  # recall that ef is chosen for: a little above what is promised, as it is an average of samples
QUERIES = 200
SEED = 20  # of the queries that a curve is measured with
MEANS_OF = (1, 3, 20)  # items whose mean is a query: from one liked item to as many as a user's query is made of
LEVEL = 1e-5  # of similarities that float32 can't tell apart

Nearest = Callable[[Floats, int, int], Rows]  # query (I,), limit and ef to rows
NONE = np.empty(0, np.intp)


class RecallPoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The smallest ``ef`` tried that finds enough of ``limit`` neighbours; the largest where none does."""

    limit: int
    ef: int
    recall: float


@dataclass(frozen=True)
class RecallCurve:
    """What was measured, by ascending limit."""

    points: tuple[RecallPoint, ...]
    target: float = TARGET

    def ef(self, limit: int) -> int | None:
        """Return how hard to look for so many neighbours; None where nothing measured finds enough."""
        at = bisect_left(self.points, limit, key=lambda point: point.limit)
        if at == len(self.points) or self.points[at].recall < self.target:
            return None
        return self.points[at].ef


def measure_curve(
    nearest: Nearest, vectors: Float16s, max_ef: int | None = None, limits: Sequence[int] = LIMITS
) -> RecallCurve:
    """Find the ``ef`` of each limit, up to ``max_ef``, with queries like those that are served."""
    most = len(vectors) if max_ef is None else max_ef
    measured = [limit for limit in limits if limit < len(vectors) and max(limit, LEAST_EF) <= most]
    if not measured:
        return RecallCurve(())
    judge = RecallJudge(vectors, queries_like_users(vectors, QUERIES, SEED), measured[-1])
    return RecallCurve(tuple(_first_enough(nearest, judge, limit, most) for limit in measured))


def _first_enough(nearest: Nearest, judge: "RecallJudge", limit: int, max_ef: int) -> RecallPoint:
    for ef in (int(step * max(limit, LEAST_EF)) for step in STEPS):
        if ef > max_ef:
            break
        tried = RecallPoint(
            limit, ef, round(judge.recall([nearest(one, limit, ef) for one in judge.queries], limit), 4)
        )
        if tried.recall >= TARGET:
            break
    return tried


class RecallJudge:
    """Knows the true neighbours of some queries, and what share of them was found."""

    def __init__(self, vectors: Float16s, queries: Floats, max_limit: int) -> None:
        """Search exactly for ``max_limit`` neighbours of each unit query ``(q, I)``."""
        self.vectors, self.queries = vectors, queries
        exact = ExactIndex(vectors)
        self._similarities = []  # of each query: those of its neighbours, the nearest first
        for query in queries:
            rows = exact.search(query[None], max_limit, NONE)
            self._similarities.append(widen(vectors[rows]) @ query)

    def recall(self, found: Sequence[Rows], limit: int) -> float:
        """Return the mean share of ``limit`` neighbours that was found; of equally near rows any counts."""
        return float(np.mean([self._recall(at, rows, limit) for at, rows in enumerate(found)]))

    def _recall(self, at: int, rows: Rows, limit: int) -> float:
        true = self._similarities[at][:limit]
        near = np.count_nonzero(widen(self.vectors[rows]) @ self.queries[at] >= true[-1] - LEVEL)
        return min(1.0, near / len(true))


def queries_like_users(vectors: Float16s, count: int, seed: int) -> Floats:
    """Draw unit queries ``(count, I)``: means of a few rows, as queries are means of what a user likes."""
    rng = np.random.default_rng(seed)
    sizes = [MEANS_OF[at % len(MEANS_OF)] for at in range(count)]
    return unit(np.stack([widen(vectors[rng.integers(0, len(vectors), size)]).mean(axis=0) for size in sizes]))
