"""Candidates that random walks find in the graph of items and sessions."""

import numpy as np
import pytest

from rankstream.features.ids import id_keys
from rankstream.graph.build import build_graph
from rankstream.graph.item_graph import ItemGraph, publish_graph
from rankstream.graph.memberships import Memberships
from rankstream.models.items.matches import match_tables
from rankstream.retrieval.sources.random_walk import BOARDS, RandomWalk
from rankstream.retrieval.sources.recent_likes import FeedbackPolarity
from tests.builders.models import a_log
from tests.builders.retrieval import a_user, an_item_table

CHAIN = (("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"))  # items of a session each; x and y are of another world
ROWS = [(f"u{at}", item, "view", place) for at, items in enumerate((*CHAIN, "xy")) for place, item in enumerate(items)]
POLARITY = FeedbackPolarity(frozenset({1}), frozenset({3}))  # view; hide


TABLES = match_tables(a_log(ROWS), ["view"])


@pytest.fixture
def source(tmp_path):
    items = an_item_table(tmp_path, list("abcdxy"), np.eye(6))  # e has no vector
    return RandomWalk(items, ItemGraph.of_sessions(TABLES), POLARITY)


def proposed(source, *actions, limit=10):
    return source.propose(a_user(*actions, tables=TABLES), limit)


def test_near_items_come_first_and_what_no_walk_reaches_not_at_all(source):
    proposals = proposed(source, ("view", "a"))
    assert list(proposals.ids) == ["b", "c", "d"]
    assert set(proposals.sources) == {"walk"}


def test_no_more_than_asked_for_and_nothing_that_the_user_knows(source):
    assert list(proposed(source, ("view", "a"), limit=1).ids) == ["b"]
    assert list(proposed(source, ("view", "a"), ("view", "b")).ids) == ["c", "d"]


def test_walks_begin_at_what_was_liked(source):
    assert set(proposed(source, ("hide", "x"), ("view", "a")).ids) == {"b", "c", "d"}


def test_the_newer_item_outweighs_the_older(source):
    newest_first = proposed(source, ("view", "x"), ("view", "b")).ids
    assert newest_first[0] == "y"
    assert proposed(source, ("view", "b"), ("view", "x")).ids[0] in ("a", "c")


def test_the_same_request_is_proposed_the_same_and_never_what_is_known(source):
    one, two = (proposed(source, ("view", "c"), ("view", "x")) for _ in range(2))
    assert one == two
    assert not {"c", "x"} & set(one.ids)


@pytest.mark.parametrize("actions", [(), (("view", "nowhere"),), (("view", 7),)])
def test_a_user_without_known_items_is_proposed_nothing(source, actions):
    assert list(proposed(source, *actions).ids) == []


def test_a_graph_that_was_published_is_walked_and_its_source_is_told_apart(tmp_path):
    pairs = Memberships(np.array([1, 1, 2, 2, 3, 3], np.uint64), id_keys(["a", "y", "y", "d", "x", "b"]))
    publish_graph(tmp_path / "graph", build_graph(pairs, 0).graph)
    items = an_item_table(tmp_path / "items", list("abcdxy"), np.eye(6))
    source = RandomWalk(items, ItemGraph.open(tmp_path / "graph"), POLARITY, name=BOARDS)
    proposals = proposed(source, ("view", "a"))
    assert list(zip(proposals.ids, proposals.sources, strict=True)) == [("y", "board-walk"), ("d", "board-walk")]


def test_tables_without_items_propose_nothing(tmp_path):
    empty = match_tables(a_log(ROWS), [])
    source = RandomWalk(an_item_table(tmp_path, ["a"], np.eye(1)), ItemGraph.of_sessions(empty), POLARITY)
    assert list(source.propose(a_user(("view", "a"), tables=TABLES), 10).ids) == []
