"""Graphs of memberships: each pair once, what joins nothing or everything left out, an item's newest boards kept."""

import numpy as np
import pytest

from rankstream.features.ids import id_keys
from rankstream.graph.build import EmptyGraphError, GraphConfig, build_graph
from tests.builders.graph import memberships

BASKETS = [("b1", "tea"), ("b1", "milk"), ("b2", "tea"), ("b2", "rice"), ("b1", "milk"), ("b3", "salt")]


def boards_by_item(built):
    """The items of each board that each item is left by."""
    graph, names = built.graph.graph, dict(zip(id_keys(["tea", "milk", "rice", "salt"]).tolist(), "tmrs", strict=True))
    items = [names[key] for key in built.graph.keys.tolist()]
    shown = ["".join(sorted(items[row] for row in graph.items.of(board))) for board in range(len(graph.items))]
    return {items[row]: [shown[board] for board in graph.boards.of(row)] for row in range(len(items))}


def test_each_pair_is_an_edge_once_and_a_board_of_one_item_is_none():
    built = build_graph(memberships(BASKETS), as_of_ms=7)
    assert {item: sorted(boards) for item, boards in boards_by_item(built).items()} == {
        "t": ["mt", "rt"], "m": ["mt"], "r": ["rt"]
    }  # fmt: skip
    assert (built.repeated, built.single, built.wide, built.pruned, built.edges) == (1, 1, 0, 0, 4)
    assert built.graph.as_of_ms == 7


def test_a_board_that_joins_too_many_is_left_out():
    everything = [("all", item) for item in ("tea", "milk", "rice", "salt")]
    built = build_graph(memberships([*BASKETS, *everything]), 0, GraphConfig(max_items=3))
    assert (built.wide, built.edges) == (1, 4)


def test_a_popular_item_is_left_by_its_newest_boards_but_all_of_them_lead_to_it():
    built = build_graph(memberships(BASKETS), 0, GraphConfig(max_boards=1))
    tea = int(built.graph.rows(id_keys(["tea"]))[0][0])
    graph = built.graph.graph
    assert built.pruned == 1
    newest = set(built.graph.keys[graph.items.of(int(graph.boards.of(tea)[0]))].tolist())
    assert newest == set(id_keys(["tea", "milk"]).tolist())  # b1's last pair came after b2's
    assert np.count_nonzero(graph.items.rows == tea) == 2


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([], "no item is in any board; name the columns of both with --map"),
        ([("b1", "tea"), ("b2", "milk")], "of 2 boards 2 hold one item alone and 0 more than 1,000"),
    ],
)
def test_an_empty_graph_is_refused_in_one_sentence(pairs, words):
    with pytest.raises(EmptyGraphError, match=words):
        build_graph(memberships(pairs), 0)


def test_limits_that_leave_nothing_are_refused():
    with pytest.raises(ValueError, match="boards of at least 2 and items of at least 1"):
        GraphConfig(max_items=1)
