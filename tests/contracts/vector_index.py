"""The promise of every vector index, as a suite; each index's test file runs it by subclassing.

An index that may miss neighbours states the recall that it is held to; all else holds to the row.
"""

from collections.abc import Callable

import numpy as np
import pytest

from rankstream.features.embeddings.key_search import Rows
from rankstream.features.schema import Floats
from rankstream.retrieval.index.base import VectorIndex, unit
from tests.builders.bundle import vectors_of

BuildIndex = Callable[[Floats], VectorIndex]
VECTORS = vectors_of(9_000, 8, 0)  # more than two blocks of the exact index
NOTHING = np.empty(0, np.intp)


def similarities(queries: Floats, vectors: Floats = VECTORS) -> Floats:
    """What every index is held to: all rows against all queries, at once."""
    return (vectors @ unit(queries).T).max(axis=1)


def exact_rows(queries: Floats, limit: int, exclude: Rows = NOTHING) -> list[int]:
    order = np.argsort(-similarities(queries), kind="stable")
    return [row for row in order.tolist() if row not in set(exclude.tolist())][:limit]


class VectorIndexContract:
    MIN_RECALL = 1.0

    @pytest.fixture(scope="class")
    @classmethod
    def build_index(cls) -> BuildIndex:
        raise NotImplementedError("return a function that builds an index over vectors (n, I) float32")

    @pytest.fixture(scope="class")
    @classmethod
    def index(cls, build_index) -> VectorIndex:
        return build_index(VECTORS)

    @pytest.mark.parametrize("queries", [1, 2, 5])
    @pytest.mark.parametrize("limit", [1, 50, 1000])
    def test_the_nearest_rows_are_found(self, index, queries, limit):
        sought = [vectors_of(queries, 8, seed) for seed in range(7, 12)]
        found = [set(index.search(one, limit, NOTHING).tolist()) & set(exact_rows(one, limit)) for one in sought]
        assert sum(map(len, found)) >= self.MIN_RECALL * limit * len(sought)

    def test_rows_come_nearest_first_and_each_once(self, index):
        query = vectors_of(2, 8, 7)
        rows = index.search(query, 200, NOTHING)
        assert (np.diff(similarities(query)[rows]) <= 0).all()
        assert len(set(rows.tolist())) == len(rows)

    def test_a_query_counts_by_its_direction(self, index):
        one, other = vectors_of(2, 8, 7)
        found = index.search(np.stack([one, other]), 50, NOTHING)
        assert index.search(np.stack([100 * one, other / 100]), 50, NOTHING).tolist() == found.tolist()

    def test_excluded_rows_are_never_found_and_others_take_their_positions(self, index):
        query = vectors_of(1, 8, 7)
        exclude = np.array(exact_rows(query, 100), np.intp)
        rows = index.search(query, 50, exclude).tolist()
        assert not set(rows) & set(exclude.tolist())
        assert len(rows) == 50
        assert len(set(rows) & set(exact_rows(query, 50, exclude))) >= self.MIN_RECALL * 50

    def test_no_more_is_found_than_there_is(self, build_index):
        few = build_index(vectors_of(3, 8, 1))
        query = vectors_of(1, 8, 7)
        assert sorted(few.search(query, 10, NOTHING).tolist()) == [0, 1, 2]
        assert few.search(query, 10, np.array([0, 2])).tolist() == [1]
        assert few.search(query, 10, np.arange(3)).tolist() == []
        assert few.search(query, 0, NOTHING).tolist() == []

    def test_nothing_is_found_in_an_empty_table(self, build_index):
        assert build_index(np.zeros((0, 8), np.float32)).search(vectors_of(1, 8, 7), 10, NOTHING).tolist() == []

    def test_the_same_vectors_and_queries_find_the_same_rows(self, index, build_index):
        query = vectors_of(2, 8, 7)
        found = index.search(query, 300, NOTHING).tolist()
        assert build_index(VECTORS).search(query, 300, NOTHING).tolist() == found
        assert index.search(query, 300, NOTHING).tolist() == found
