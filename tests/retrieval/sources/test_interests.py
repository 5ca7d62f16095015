"""Candidates that are near to each of a user's interests."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from rankstream.features.interests.table import open_interests
from rankstream.retrieval.index.base import unit
from rankstream.retrieval.index.exact import ExactIndex
from rankstream.retrieval.sources.interests import InterestNeighbours
from rankstream.retrieval.sources.recent_likes import FeedbackPolarity
from tests.builders.interests import interests, publish_of
from tests.builders.retrieval import NOW_MS, a_user, an_item_table

POLARITY = FeedbackPolarity(frozenset({2}), frozenset({3}))  # save; hide
WORLDS = "abcde"  # five directions, ten items in each: a0 is the direction, a9 the farthest from it
IDS = [f"{world}{at}" for world in WORLDS for at in range(10)]
VECTORS = unit(
    np.array([np.eye(6)[WORLDS.index(world)] + 0.05 * at * np.eye(6)[5] for world in WORLDS for at in range(10)])
)
THREE = {"u1": interests(("a0", 6.0), ("b0", 3.0), ("c0", 1.0))}


@pytest.fixture
def a_source(tmp_path):
    def of(found, as_of_ms=NOW_MS - 500):
        publish_of(tmp_path / "interests", found, as_of_ms, space="items")
        items = an_item_table(tmp_path / "items", IDS, VECTORS)
        return InterestNeighbours(items, ExactIndex(items.vectors), open_interests(tmp_path / "interests"), POLARITY)

    return of


def worlds(proposals):
    """How many items of each direction, by what proposed them."""
    return Counter((source, item[0]) for item, source in zip(proposals.ids, proposals.sources, strict=True))


def test_each_interest_has_places_by_its_importance_and_says_because_of_which_item(a_source):
    proposals = a_source(THREE).propose(a_user(), 10)
    assert worlds(proposals) == {("interest:1", "a"): 6, ("interest:2", "b"): 3, ("interest:3", "c"): 1}
    assert proposals.because_of == {"interest:1": "a0", "interest:2": "b0", "interest:3": "c0"}
    assert [item for item in proposals.ids if item[0] == "a"] == [f"a{at}" for at in range(6)]  # nearest first


def test_the_newest_liked_item_asks_too(a_source):
    source = a_source(THREE, as_of_ms=NOW_MS)
    proposals = source.propose(a_user(("hide", "e0"), ("save", "d3")), 8)
    assert worlds(proposals)["interest:newest", "d"] == 2  # one of four queries
    assert proposals.because_of["interest:newest"] == "d3"
    assert not {"d3", "e0"} & set(proposals.ids)


def test_up_to_three_are_sampled_by_importance(a_source):
    six = interests(("a0", 4.0), ("b0", 4.0), ("c0", 2.0), ("d0", 2.0), ("e0", 0.01), ("e9", 0.0))
    source = a_source({"u1": six})
    asked = Counter()
    for request in range(200):
        queries = source.queries(a_user(), np.random.default_rng(request))
        assert len(queries) == 3
        asked.update(query.source for query in queries)
    assert min(asked["interest:1"], asked["interest:2"]) > 150 > max(asked["interest:3"], asked["interest:4"]) > 60
    assert asked["interest:5"] < 10
    assert "interest:6" not in asked


def test_between_batches_an_action_joins_its_interest_or_opens_one(a_source):
    source = a_source(THREE)
    joined = source.now(a_user(("save", "b1")))
    assert joined.actions.tolist() == [1, 2, 1]
    opened = source.now(a_user(("save", "d0"), ("view", "e0")))  # a view is no positive feedback
    assert (len(opened), opened.actions.tolist()) == (4, [1, 1, 1, 1])
    older = source.now(a_user(("view", "e0"), ("save", "d0")))  # a second ago: the table has it, if it was to be had
    assert len(older) == 3


def test_a_user_whom_the_table_lacks_has_the_interests_of_the_known_actions(a_source):
    proposals = a_source({}).propose(a_user(("save", "d0"), ("save", "a0"), ("save", "a1")), 12)
    assert {name.partition(":")[2] for name in proposals.sources} == {"1", "2"}
    assert proposals.because_of == {"interest:1": "a1", "interest:2": "d0"}


def test_a_table_that_knows_more_than_the_request_is_not_looked_at(a_source):
    source = a_source(THREE, as_of_ms=NOW_MS + 1)
    assert list(source.propose(a_user(), 10).ids) == []
    assert source.propose(a_user(("save", "d0")), 10).because_of == {"interest:1": "d0"}


def test_a_table_of_before_an_erasure_of_the_user_is_not_looked_at(a_source):
    source, user = a_source(THREE, as_of_ms=NOW_MS - 500), a_user(("save", "d0"))
    for forgotten_ms, found in ((NOW_MS - 500, {"d0"}), (NOW_MS - 501, {"a0", "b0", "c0", "d0"})):
        erased = replace(user, user=replace(user.user, forgotten_ms=forgotten_ms))
        assert set(source.propose(erased, 10).because_of.values()) <= found


@pytest.mark.parametrize("actions", [(), (("save", "nowhere"),), (("save", 7),)])
def test_a_user_without_interests_is_proposed_nothing(a_source, actions):
    assert list(a_source({"u1": interests()}).propose(a_user(*actions), 10).ids) == []


def test_what_is_known_is_never_proposed_and_the_limit_holds(a_source):
    user = a_user(("save", "a0"), ("view", "a1"), ("hide", "b0"))
    for limit in (1, 7, 1000):
        ids = a_source(THREE).propose(user, limit).ids
        assert len(set(ids)) == len(ids) == min(limit, 47)
        assert not {"a0", "a1", "b0"} & set(ids)
