"""Graphs of memberships: each pair once, what joins nothing or everything left out, an item's newest boards kept."""

from dataclasses import replace

import numpy as np
import pytest

from rankstream.features.ids import id_keys
from rankstream.graph.alias import SLOT
from rankstream.graph.build import EmptyGraphError, GraphConfig, build_graph
from rankstream.graph.item_graph import ItemGraph, publish_graph
from rankstream.graph.topics import Topics, clustered, spreads
from rankstream.graph.walks import WalkConfig, walk
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


def test_a_pair_that_comes_again_weighs_the_most_that_it_ever_did():
    built = build_graph(memberships([("b1", "tea"), ("b1", "milk"), ("b1", "tea")], [4.0, 1.0, 1.0]), 0)
    milk, tea = (int(one[0]) for one in (built.graph.rows(id_keys([name]))[0] for name in ("milk", "tea")))
    drawn = built.graph.graph.items
    own = drawn.thresholds / SLOT  # of two slots tea has 8/5: its own, and the rest of milk's
    assert own[drawn.rows == tea] == 1
    assert own[drawn.rows == milk] == pytest.approx(2 / 5)
    assert drawn.others[drawn.rows == milk] == tea


def topics(**labels):
    keys = id_keys(list(labels))
    order = np.argsort(keys)
    return Topics(keys[order], np.array(list(labels.values()))[order])


def test_a_board_of_too_many_topics_is_left_out():
    pairs = memberships([("b1", "tea"), ("b1", "milk"), ("b2", "tea"), ("b2", "rice"), ("b2", "salt")])
    about = topics(tea=0, milk=0, rice=1, salt=2)
    assert spreads(np.array([0, 0, 1, 1, 1]), np.array([0, 0, 0, 1, 2])) == pytest.approx([1, 3])
    kept = build_graph(pairs, 0, GraphConfig(max_topics=2.9), about)
    assert (kept.spread, kept.edges, len(kept.graph)) == (1, 2, 2)
    assert build_graph(pairs, 0, GraphConfig(max_topics=3.0), about).spread == 0
    with pytest.raises(EmptyGraphError, match=r"1 are of more than 1 topics.*--max-topics"):
        build_graph(memberships([("b1", "tea"), ("b1", "rice")]), 0, GraphConfig(max_topics=1), about)


def test_of_an_item_in_many_boards_those_of_its_topic_stay():
    others = {"food": ("milk", "rice"), "food2": ("rice", "milk"), "odds": ("nail", "saw"), "odds2": ("saw", "nail")}
    shelves = [(shelf, item) for shelf, items in others.items() for item in ("tea", *items)]
    about = topics(tea=0, milk=0, rice=0, nail=1, saw=1)
    built = build_graph(memberships(shelves), 0, GraphConfig(degree_power=0.5), about)  # 4 boards to 2, 2 stay 2
    assert (built.far, built.edges) == (2, 10)
    tea = int(built.graph.rows(id_keys(["tea"]))[0][0])
    sizes = np.diff(built.graph.graph.items.starts)
    assert sizes[built.graph.graph.boards.of(tea)].tolist() == [3, 3]
    assert build_graph(memberships(shelves), 0, GraphConfig(degree_power=1.0), about).edges == 12


def test_items_of_no_known_topic_leave_boards_as_they_are():
    pairs = memberships([("b1", "tea"), ("b1", "milk"), ("b2", "tea"), ("b2", "rice")])
    assert build_graph(pairs, 0, GraphConfig(max_topics=1), topics(salt=0)).edges == 4
    with pytest.raises(ValueError, match="no topics of items are given"):
        build_graph(pairs, 0, GraphConfig(max_topics=1))


def test_the_items_of_a_board_lie_by_topic_where_walks_prefer_one(tmp_path):
    pairs = memberships([("b1", "tea"), ("b1", "nail"), ("b1", "milk"), ("b2", "nail"), ("b2", "rice")])
    about = topics(tea=0, milk=0, nail=1)
    graph = build_graph(pairs, 0, GraphConfig(bias=0.6), about).graph
    assert about.of(graph.keys)[graph.graph.items.rows].tolist() == [0, 0, 1, -1, 1]
    publish_graph(tmp_path, graph)
    opened, query = ItemGraph.open(tmp_path), graph.rows(id_keys(["tea"]))[0]
    assert opened.graph.bias.share == 0.6
    seen = [walk(one.graph, query, np.ones(1), np.random.default_rng(1), WalkConfig()) for one in (graph, opened)]
    assert seen[0].counts.tolist() == seen[1].counts.tolist()
    with pytest.raises(ValueError, match="not both"):
        build_graph(replace(pairs, weights=np.ones(5)), 0, GraphConfig(bias=0.6), about)
    with pytest.raises(ValueError, match="wanted a share of the steps"):
        GraphConfig(bias=1.1)


def test_clusters_are_of_vectors_that_point_the_same_way_and_the_same_each_time():
    rng = np.random.default_rng(0)
    vectors = np.repeat(np.eye(3, 8, dtype=np.float32), 20, axis=0) * rng.random((60, 1), np.float32) + 1e-3
    found = clustered(vectors, 3, seed=1)
    assert [len(set(found[at : at + 20])) for at in (0, 20, 40)] == [1, 1, 1]
    assert found.tolist() == clustered(vectors, 3, seed=1).tolist()
    assert clustered(vectors[:2], 50).tolist() in ([0, 0], [1, 1], [0, 1], [1, 0])


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
    for wrong in ({"degree_power": 0.0}, {"degree_power": 1.1}, {"max_topics": 0.5}, {"max_topics": float("nan")}):
        with pytest.raises(ValueError, match="a board has at least 1, and the power is more than 0"):
            GraphConfig(**wrong)
