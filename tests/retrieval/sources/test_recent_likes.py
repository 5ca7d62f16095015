import numpy as np
import pytest

from rankstream.features.actions import Vocabulary
from rankstream.retrieval.index.base import unit
from rankstream.retrieval.index.exact import ExactIndex
from rankstream.retrieval.sources.recent_likes import FeedbackPolarity, RecentLikes, polarity_of
from tests.builders.bundle import vectors_of
from tests.builders.retrieval import VOCABULARY, a_user, an_item_table
from tests.contracts.candidate_source import CandidateSourceContract

POLARITY = polarity_of(VOCABULARY, {"save": 2.0, "hide": -1.0})
IDS = [*range(1, 9_000), "apple", "pear"]
VECTORS = vectors_of(len(IDS), 8, 0)


def recent_likes(items):
    return RecentLikes(items, ExactIndex(items.vectors), POLARITY)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return recent_likes(an_item_table(tmp_path_factory.mktemp("many"), IDS, VECTORS))


@pytest.fixture
def source(tmp_path):
    return recent_likes(an_item_table(tmp_path, [1, 2, 3], np.eye(3)))


class TestRecentLikes(CandidateSourceContract):
    @pytest.fixture
    def source(self, many):
        return many


def nearest(queries, limit, exclude=()):
    order = np.argsort(-(VECTORS @ unit(queries).T).max(axis=1), kind="stable")
    return [IDS[row] for row in order if IDS[row] not in exclude][:limit]


def test_a_user_is_looked_for_by_positive_items(source):
    assert source.queries(a_user(("view", 1), ("save", 2), ("hide", 3))).tolist() == [[0, 1, 0]]


def test_without_positive_items_all_but_the_negative_ones_count(source):
    assert source.queries(a_user(("view", 1), ("hide", 3))).tolist() == [[1, 0, 0]]
    assert source.queries(a_user(("hide", 3))).shape == (0, 3)


def test_a_user_vector_is_a_query_where_it_is_as_wide_as_the_items(source):
    assert source.queries(a_user(("save", 1), vector=[0, 0, 2])).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert source.queries(a_user(("save", 1), vector=[0, 0])).tolist() == [[1, 0, 0]]


def test_nothing_known_returns_no_query(source):
    assert source.queries(a_user(("save", 99))).shape == (0, 3)
    assert source.queries(a_user(vector=[0, 0, 0])).shape == (0, 3)
    assert unit(np.array([[0, 4, 0], [0, 0, 0]], np.float32)).tolist() == [[0, 1, 0], [0, 0, 0]]


def test_the_neighbours_of_positive_items_and_of_the_user_are_proposed_best_first(many):
    vector = vectors_of(1, 8, 7)[0]
    user = a_user(("save", 5), ("view", 6), ("save", "apple"), ("save", "not in the table"), vector=vector)
    mean_positive = (VECTORS[4] + VECTORS[IDS.index("apple")]) / 2
    proposals = many.propose(user, 500)
    assert proposals.ids == nearest(np.stack([mean_positive, vector]), 500, exclude=(5, 6, "apple"))
    assert set(proposals.sources) == {"recent-likes"}


@pytest.mark.parametrize("actions", [(), (("hide", 3),), (("save", "not in the table"),)])
def test_a_user_without_a_query_is_proposed_nothing(many, actions):
    assert many.propose(a_user(*actions), 20).ids == []


def test_no_more_is_proposed_than_there_is(tmp_path):
    same = recent_likes(an_item_table(tmp_path, [3, 1, 2], np.ones((3, 8))))
    assert same.propose(a_user(vector=[1] * 8), 10).ids == [1, 2, 3]
    assert same.propose(a_user(("save", 1), ("save", 2), ("save", 3)), 10).ids == []


def test_an_action_speaks_for_an_item_by_the_weight_of_its_head():
    utility = {"save": 3.0, "hide": -5.0, "view": 0.0, "a head of no action": 1.0}
    assert polarity_of(Vocabulary(("view", "save", "hide")), utility) == FeedbackPolarity(
        frozenset({2}), frozenset({3})
    )
