"""Items that nobody has acted on: by what the user likes, in places of their own, and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest

from rankstream.features.ids import id_keys
from rankstream.features.schema import Bools
from rankstream.retrieval.index.base import unit
from rankstream.retrieval.index.exact import ExactIndex
from rankstream.retrieval.index.without import WithoutRows
from rankstream.retrieval.scope import Stock, scope_of
from rankstream.retrieval.sources.described import DescribedNeighbours
from rankstream.retrieval.sources.recent_likes import RecentLikes
from tests.builders.bundle import vectors_of
from tests.builders.catalogue import a_catalogue, an_item
from tests.builders.retrieval import a_user, an_item_table
from tests.retrieval.sources.test_recent_likes import POLARITY

IDS = range(1, 101)
NEW = range(61, 101)
VECTORS = vectors_of(100, 8, 0)


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    return an_item_table(tmp_path_factory.mktemp("items"), IDS, VECTORS)


@pytest.fixture(scope="module")
def source(items):
    likes = RecentLikes(items, ExactIndex(items.vectors), POLARITY)
    return DescribedNeighbours(items, items.rows(id_keys(NEW))[0], likes, np.zeros(len(NEW), np.float32))


def nearest(item, among):
    directions = unit(VECTORS)
    return sorted(among, key=lambda other: -float(directions[other - 1] @ directions[item - 1]))


def test_the_new_items_that_are_nearest_to_what_the_user_likes_are_proposed(source):
    found = source.propose(a_user(("save", 5)), 7)
    assert found.ids == nearest(5, NEW)[:7]
    assert found.sources == ["described"] * 7


def test_of_two_that_are_about_as_near_the_one_whose_like_is_popular_comes_first(source):
    first, second, *_, last = nearest(5, NEW)
    expected = np.array([9.0 * (item in (second, last)) for item in NEW], np.float32)
    found = replace(source, popularity=expected).propose(a_user(("save", 5)), 40).ids
    gap = unit(VECTORS)[first - 1] @ unit(VECTORS)[4] - unit(VECTORS)[second - 1] @ unit(VECTORS)[4]
    assert gap < 9.0 * 0.05 / expected.std()
    assert found.index(second) < found.index(first)
    assert found.index(last) > 30  # it is no neighbour all the same


def test_what_was_seen_and_what_is_not_in_the_catalogue_is_not_proposed(source, items):
    first, second, third = nearest(5, NEW)[:3]
    user = a_user(("save", 5), ("hide", first))
    stock = Stock(a_catalogue(*(an_item(item) for item in IDS if item != second)), items)
    assert source.propose(user, 100, replace(scope_of(user), stock=stock)).ids[0] == third


def test_a_user_of_whom_nothing_is_known_is_proposed_none(source):
    assert source.propose(a_user(), 10).ids == []


@pytest.mark.parametrize("limit", [1, 30, 60, 100])
def test_an_index_without_them_finds_the_others_and_as_many(items, limit):
    hidden = items.rows(id_keys(NEW))[0]
    index = WithoutRows(ExactIndex(items.vectors), hidden)
    query, nothing = VECTORS[4:5], np.zeros(0, np.intp)
    found = index.search(query, limit, nothing)
    rows: Bools = ~np.isin(np.arange(100), hidden)
    exact = [row for row in ExactIndex(items.vectors).search(query, 100, nothing).tolist() if rows[row]]
    assert found.tolist() == exact[:limit]
    assert index.name is None
