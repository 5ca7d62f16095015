"""Random walks visit what personalised PageRank says, by the steps that each query is due."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.features.matches.tables import Lists
from rankstream.graph.alias import alias_lists
from rankstream.graph.bias import Bias
from rankstream.graph.bipartite import BipartiteGraph
from rankstream.graph.walks import Visits, WalkConfig, steps_of, walk

BOARDS = [[0, 1], [1, 2, 3], [3, 4], [0, 3, 4], [5, 6]]  # items of each; 7 has none


def lists_of(rows):
    return Lists(np.cumsum([0, *map(len, rows)]), np.array([one for row in rows for one in row], np.int32))


def a_graph(boards=BOARDS, num_items=8):
    of_items = [[at for at, items in enumerate(boards) if item in items] for item in range(num_items)]
    return BipartiteGraph(lists_of(of_items), lists_of(boards))


def a_weighted_graph(weight=lambda item, board: 1.0 + 3.0 * ((item + 2 * board) % 3)):
    """The same graph with a weight an edge, as its two lists and as one matrix (n, m)."""
    graph, matrix = a_graph(), np.zeros((8, len(BOARDS)))
    for board, items in enumerate(BOARDS):
        matrix[items, board] = [weight(item, board) for item in items]
    of_boards, of_items = (one[one > 0] for one in (matrix, matrix.T))
    return BipartiteGraph(alias_lists(graph.boards, of_boards), alias_lists(graph.items, of_items)), matrix


def walked(queries, weights=None, seed=0, graph=None, **config):
    config = {"steps": 100_000, "restart": 0.5, **config}
    weights = np.ones(len(queries)) if weights is None else np.array(weights, np.float64)
    rng = np.random.default_rng(seed)
    return walk(graph or a_graph(), np.array(queries, np.int64), weights, rng, WalkConfig(**config))


def expected_visits(graph, query, restart):
    """Visits of one walk: the sum over its steps of where it is, solved exactly."""
    n, m = graph.num_items, len(graph.items)
    to_board, to_item = np.zeros((n, m)), np.zeros((m, n))
    for item in range(n):
        to_board[item, graph.boards.of(item)] = 1 / max(1, len(graph.boards.of(item)))
    for board in range(m):
        to_item[board, graph.items.of(board)] = 1 / len(graph.items.of(board))
    return solved(to_board @ to_item, query, restart)


def solved(step, query, restart):
    n = len(step)
    return np.linalg.solve(np.eye(n) - (1 - restart) * step.T, step.T[:, query])


@pytest.mark.parametrize("restart", [0.2, 0.5, 1.0])
def test_shares_of_visits_are_those_of_personalised_pagerank(restart):
    visits = walked([1], steps=200_000, restart=restart, stop_visits=0)
    exact = expected_visits(a_graph(), 1, restart)
    shares = np.bincount(visits.items, visits.counts, 8) / visits.steps
    sigma = np.sqrt(2 / restart / visits.steps)  # visits of one walk hang together
    assert np.abs(shares - exact / exact.sum()).max() < 3 * sigma


@pytest.mark.parametrize("restart", [0.2, 0.8])
def test_shares_of_visits_follow_the_weights_as_personalised_pagerank_does(restart):
    graph, weights = a_weighted_graph()
    of_item, of_board = weights.sum(axis=1, keepdims=True), weights.sum(axis=0, keepdims=True)
    step = (weights / np.where(of_item > 0, of_item, 1)) @ (weights / of_board).T
    exact = solved(step, 1, restart)
    visits = walked([1], graph=graph, steps=200_000, restart=restart, stop_visits=0)
    shares = np.bincount(visits.items, visits.counts, 8) / visits.steps
    sigma = np.sqrt(2 / restart / visits.steps)
    assert np.abs(shares - exact / exact.sum()).max() < 3 * sigma
    plain = expected_visits(a_graph(), 1, restart)
    assert np.abs(shares - plain / plain.sum()).max() > 10 * sigma  # else weights would not show


@pytest.mark.parametrize("share", [0.6, 1.0])
def test_a_biased_walk_prefers_the_topic_that_it_began_at_in_that_share_of_its_steps(share):
    plain, topics = a_graph(), np.array([0, 1, 1, 0, 0, 0, 0, -1], np.int32)
    items = lists_of([sorted(held, key=lambda item: topics[item]) for held in BOARDS])
    graph = BipartiteGraph(plain.boards, items, Bias(share, topics, items))
    to_item = np.zeros((len(BOARDS), 8))
    for board, held in enumerate(BOARDS):
        own = [item for item in held if topics[item] == topics[1]] or held
        to_item[board, held] = (1 - share) / len(held)
        to_item[board, own] += share / len(own)
    to_board = np.array([[board in plain.boards.of(item) for board in range(len(BOARDS))] for item in range(8)])
    exact = solved(to_board / np.maximum(to_board.sum(axis=1, keepdims=True), 1) @ to_item, 1, 0.5)
    visits = walked([1], graph=graph, steps=200_000, stop_visits=0)
    shares = np.bincount(visits.items, visits.counts, 8) / visits.steps
    assert np.abs(shares - exact / exact.sum()).max() < 3 * np.sqrt(4 / visits.steps)


def test_edges_of_one_weight_are_walked_as_edges_without_any():
    graph, _ = a_weighted_graph(lambda item, board: 0.25)
    plain, weighted = walked([1, 4]), walked([1, 4], graph=graph)
    assert plain.items.tolist() == weighted.items.tolist()
    assert plain.counts.tolist() == weighted.counts.tolist()


def test_about_as_many_steps_are_taken_as_asked_for():
    assert walked([1], steps=50_000, stop_visits=0).steps == pytest.approx(50_000, rel=0.02)


def test_no_walk_leaves_its_part_of_the_graph():
    assert set(walked([5]).items.tolist()) == {5, 6}


def test_an_item_without_boards_is_not_walked_from():
    assert walked([7]).steps == 0
    assert set(walked([7, 5]).items.tolist()) == {5, 6}


def test_a_walk_ends_where_an_item_has_no_boards():
    pruned = BipartiteGraph(lists_of([[0], []]), lists_of([[1]]))
    visits = walked([0], graph=pruned, steps=1000, stop_visits=0)
    assert (visits.items.tolist(), visits.counts.tolist()) == ([1], [500])  # one step a walk


def test_without_queries_nothing_is_visited():
    assert walked([]).steps == 0


def test_the_same_generator_visits_the_same():
    one, two, other = walked([1, 5], seed=4), walked([1, 5], seed=4), walked([1, 5], seed=5)
    assert one.counts.tolist() == two.counts.tolist()
    assert one.counts.tolist() != other.counts.tolist()


def test_a_query_stops_when_it_has_found_enough_and_the_others_go_on():
    config = {"steps": 100_000, "stop_items": 3, "batches": 10}
    visits = walked([0, 5], **config)
    of_query = np.bincount(visits.queries, visits.counts)
    full = walked([0, 5], stop_visits=0, **{**config, "stop_items": 1})
    assert of_query[0] < 0.2 * np.bincount(full.queries, full.counts)[0]
    assert of_query[1] == pytest.approx(np.bincount(full.queries, full.counts)[1], rel=0.05)  # has 2 items to find


def test_all_queries_stop_together_when_enough_items_have_enough_visits_from_all_of_them():
    config = {"steps": 100_000, "batches": 10, "together": True}
    full = walked([0, 5], **config, stop_items=8)
    stopped = walked([0, 5], **config, stop_items=7, stop_visits=500)
    assert full.counts.sum() == pytest.approx(100_000, rel=0.05)
    assert 8_000 < stopped.counts.sum() < 50_000
    shares = [np.bincount(one.queries, one.counts) / one.steps for one in (full, stopped)]
    assert shares[0] == pytest.approx(shares[1], abs=0.02)  # no query weighs less than it would have
    assert walked([0, 5], **config, stop_visits=0).counts.tolist() == full.counts.tolist()


def test_more_boards_mean_more_steps_but_not_in_their_ratio():
    few, many, most = steps_of(np.array([10, 100, 1000]), np.ones(3), 1000, 10_000)
    assert few < many < most < 100 * few
    assert most < 10 * many


@given(st.lists(st.integers(0, 50), min_size=1, max_size=9), st.integers(1, 10_000))
@settings(max_examples=50, deadline=None)
def test_all_steps_are_shared_out_and_nobody_with_a_board_gets_none(degrees, steps):
    shares = steps_of(np.array(degrees), np.ones(len(degrees)), 50, steps)
    assert ((shares > 0) == (np.array(degrees) > 0)).all()
    assert not any(degrees) or steps <= shares.sum() <= steps + len(degrees)


def test_the_heavier_query_walks_farther():
    visits = walked([0, 3], weights=[3.0, 1.0], steps=10_000, stop_visits=0)
    of_query = np.bincount(visits.queries, visits.counts)
    degrees, _ = steps_of(np.array([2, 3]), np.array([3.0, 1.0]), 3, 10_000)
    assert of_query[0] == pytest.approx(degrees, rel=0.05)


def test_the_booster_prefers_what_several_queries_visit():
    visits = Visits(np.array([0, 1, 0]), np.array([1, 1, 2]), np.array([4, 4, 9]))
    assert [part.tolist() for part in visits.scores(boost=False)] == [[1, 2], [8, 9]]
    assert [part.tolist() for part in visits.scores(boost=True)] == [[1, 2], [16, 9]]


@pytest.mark.parametrize("wrong", [{"restart": 0.0}, {"restart": 1.5}, {"steps": 0}, {"batches": 0}])
def test_what_cannot_be_walked_is_refused(wrong):
    with pytest.raises(ValueError, match="wanted"):
        WalkConfig(**wrong)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5_000), st.integers(1, 9)), max_size=30), st.booleans())
def test_scores_are_the_same_whether_all_rows_are_counted_or_the_visited_ones_sorted(found, boost):
    queries, items, counts = np.array(found, np.int64).reshape(-1, 3).T
    visited, scores = Visits(queries, items, counts).scores(boost)
    assert visited.tolist() == sorted(set(items.tolist()))
    for item, score in zip(visited.tolist(), scores.tolist(), strict=True):
        of_item = counts[items == item]
        assert score == pytest.approx((np.sqrt(of_item).sum() ** 2) if boost else of_item.sum())


def test_what_is_counted_at_the_end_is_what_is_counted_batch_by_batch():
    once, often = walked([1, 4], stop_visits=0), walked([1, 4], stop_visits=1_000_000)
    assert once.items.tolist() == often.items.tolist()
    assert once.counts.tolist() == often.counts.tolist()


def test_a_walk_ends_at_an_item_that_its_boards_were_pruned_from():
    pruned = BipartiteGraph(lists_of([[0], []]), lists_of([[0, 1]]))
    assert not pruned.is_closed
    assert a_graph().is_closed
    visits = walked([0], graph=pruned, steps=10_000, stop_visits=0)
    assert visits.items.tolist() == [0, 1]
    assert visits.counts[0] == pytest.approx(visits.counts[1], rel=0.1)  # each step is to either
