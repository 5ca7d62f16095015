"""The graph beside the exact search; the recall that it is held to is that which its curve promises."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.retrieval.index.base import unit
from rankstream.retrieval.index.exact import ExactIndex
from rankstream.retrieval.index.hnsw import (
    HnswConfig,
    build_graph,
    build_index,
    equally_long,
    graph_bytes,
    graph_of,
    max_length,
)
from rankstream.retrieval.index.recall import TARGET, RecallCurve, RecallPoint, measure_curve
from tests.builders.bundle import vectors_of
from tests.contracts.vector_index import NOTHING, VECTORS, VectorIndexContract, similarities

CONFIG = HnswConfig()


def hnsw_index(vectors):
    return build_index(vectors.astype(np.float16), CONFIG, max_ef=800)


@cache
def the_index():
    return hnsw_index(VECTORS)


class TestHnswIndex(VectorIndexContract):
    MIN_RECALL = 0.97

    @pytest.fixture(scope="class")
    @classmethod
    def build_index(cls):
        return lambda vectors: the_index() if vectors is VECTORS else hnsw_index(vectors)


def test_the_same_table_gives_the_same_file_and_the_file_the_same_answers():
    graph = build_graph(VECTORS.astype(np.float16), CONFIG)
    written = graph_bytes(graph)
    assert written.tobytes() == graph_bytes(the_index().graph).tobytes()
    query, read = vectors_of(1, 8, 7)[0], replace(the_index(), graph=graph_of(written))
    assert read.nearest(query, 50, 60).tolist() == the_index().nearest(query, 50, 60).tolist()


def test_what_is_found_is_in_the_order_of_the_exact_search():
    query, exact = vectors_of(2, 8, 7), ExactIndex(VECTORS.astype(np.float16))
    assert the_index().curve.ef(200) is not None  # else the exact search would be held to itself
    found, wanted = (one.search(query, 200, NOTHING).tolist() for one in (the_index(), exact))
    both = set(found) & set(wanted)
    assert [row for row in found if row in both] == [row for row in wanted if row in both]


@pytest.mark.parametrize("excluded", [0, 500, 5_000])
def test_where_no_walk_is_worth_it_all_are_compared_and_the_answer_is_the_exact_one(excluded):
    query, exact = vectors_of(2, 8, 7), ExactIndex(VECTORS.astype(np.float16))
    exclude = np.random.default_rng(0).permutation(len(VECTORS))[:excluded]
    assert the_index().curve.ef(1_000) is None
    assert the_index().search(query, 1_000, exclude).tolist() == exact.search(query, 1_000, exclude).tolist()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 50), st.integers(1, 150), st.integers(0, 120), st.booleans())
def test_whatever_is_excluded_the_answer_is_full_and_holds_none_of_it(seed, limit, count, nearest):
    query = vectors_of(1, 8, seed)
    order = np.argsort(-similarities(query)) if nearest else np.random.default_rng(seed).permutation(len(VECTORS))
    exclude = order[:count].astype(np.intp)
    rows = the_index().search(query, limit, exclude)
    assert not set(rows.tolist()) & set(exclude.tolist())
    assert len(rows) == len(set(rows.tolist())) == limit


def test_a_walk_that_what_is_excluded_blocks_is_made_good_by_the_exact_search():
    """Hard to search: all rows but a few are excluded."""
    exclude = np.arange(len(VECTORS) - 3, dtype=np.intp)
    left = the_index().search(vectors_of(1, 8, 7), 5, exclude).tolist()
    assert sorted(left) == list(range(len(VECTORS) - 3, len(VECTORS)))


def test_the_curve_looks_harder_the_more_is_asked_for():
    points = the_index().curve.points
    assert [point.limit for point in points] == [10, 50, 100, 200, 500]
    assert all(one.ef <= other.ef for one, other in pairwise(points))
    assert points[0].ef < points[-1].ef
    assert all(point.recall >= TARGET for point in points)


def test_between_two_limits_the_larger_ones_ef_counts_and_beyond_them_none():
    curve = RecallCurve((RecallPoint(10, 20, 0.99), RecallPoint(100, 150, 0.99), RecallPoint(200, 1_600, 0.9)))
    assert [curve.ef(limit) for limit in (1, 10, 11, 100, 101, 201)] == [20, 20, 150, 150, None, None]


def test_an_index_that_finds_too_little_is_measured_as_such():
    few = VECTORS[:1_000]

    def finds_even_rows(query, limit, ef):
        order = np.argsort(-(few @ query))
        return order[order % 2 == 0][:limit]

    (point,) = measure_curve(finds_even_rows, few.astype(np.float16), limits=(100,)).points
    assert (point.limit, point.ef) == (100, 800)
    assert 0.4 < point.recall < 0.6


def test_of_many_rows_a_walk_may_take_many_times_the_limit():
    few = VECTORS[:2_000]

    def finds_all_from_1_200_on(query, limit, ef):
        order = np.argsort(-(few @ query))
        return order[: limit if ef >= 1_200 else limit // 2]

    (point,) = measure_curve(finds_all_from_1_200_on, few.astype(np.float16), limits=(100,)).points
    assert (point.ef, point.recall) == (1_200, 1.0)


def test_rows_of_all_lengths_are_made_equally_long_and_keep_their_products():
    rows = VECTORS[:50]
    length = max_length(rows.astype(np.float16))
    long = equally_long(rows, length, 16)
    assert np.linalg.norm(long, axis=1) == pytest.approx(np.full(50, length), rel=1e-5)
    query = np.concatenate([vectors_of(1, 8, 7)[0], np.zeros(8, np.float32)])
    assert long @ query == pytest.approx(rows @ query[:8], abs=1e-5)
    assert max_length(unit(rows).astype(np.float16)) is None
