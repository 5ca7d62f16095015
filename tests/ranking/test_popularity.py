import numpy as np
import pytest

from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.embeddings.table import table_of
from rankstream.features.ids import id_keys
from rankstream.features.schema import POPULARITY_COLUMN
from rankstream.models.items.item_features import item_features
from rankstream.ranking.popularity import Popularity
from rankstream.ranking.ranker import Ranker
from rankstream.ranking.request import RankingRefusedError, RankingRequest
from rankstream.ranking.serving import LiveRanker
from tests.builders.bundle import a_bundle
from tests.builders.models import a_random_log

FEATURES = {"sock": 0.25, "shoe": 1.0, "hat": 0.5}


def a_popularity() -> Popularity:
    names = list(FEATURES)
    features = np.array([[FEATURES[name], 9.0] for name in names], np.float32)
    vectors = np.zeros((3, 4), np.float32)
    return Popularity(table_of(names, vectors, space="s", as_of_ms=0), ItemTable(np.array(names, object), features))


def test_popularity_is_that_column_and_nothing_for_unknown_items():
    found, known = a_popularity().look_up(id_keys(["hat", "unheard of", "shoe"]))
    assert (found.tolist(), known.tolist()) == ([0.5, 0.0, 1.0], [True, False, True])


def test_the_best_items_are_the_most_popular_ones_first():
    assert list(a_popularity().best) == ["shoe", "hat", "sock"]


def test_the_column_is_where_training_puts_it():
    log = a_random_log(users=5, items=4, actions=30)
    table = ItemTable(log.items(), np.zeros((len(log.items()), 2), np.float32))
    _, names = item_features(log, table)
    assert names[POPULARITY_COLUMN] == "log_popularity"


@pytest.fixture(scope="module")
def ranker(tmp_path_factory) -> Ranker:
    return LiveRanker.open(a_bundle(tmp_path_factory.mktemp("serving") / "bundle")).current


def a_request(**fields) -> RankingRequest:
    return RankingRequest(**{"request_id": "r", "user_id": "u1", "candidates": (3, 1, 2)} | fields)


def test_a_feed_by_popularity_says_so_and_holds_each_candidate_once(ranker):
    ranking = ranker.rank_by_popularity(a_request(candidates=(3, 1, "3", 2, "no such item")))
    assert sorted(str(item.item_id) for item in ranking.items) == ["1", "2", "3", "no such item"]
    scores = [item.score for item in ranking.items]
    assert scores == sorted(scores, reverse=True)
    assert (ranking.fallback, ranking.unknown_items, ranking.num_candidates) == ("popularity", 1, 4)
    assert all(item.probabilities == {} for item in ranking.items)


def test_a_feed_by_popularity_keeps_the_limits_of_its_request(ranker):
    few = ranker.rank_by_popularity(a_request(top_k=2))
    assert len(few.items) == 2
    capped = ranker.rank_by_popularity(a_request(groups=("a", "a", "b"), max_per_group=1))
    assert len(capped.items) == 2


def test_without_candidates_the_most_popular_items_are_given(ranker):
    assert ranker.popularity is not None
    ranking = ranker.rank_by_popularity(a_request(candidates=None, limit=3))
    assert [item.item_id for item in ranking.items] == list(ranker.popularity.best[:3])


def test_what_no_ranker_can_answer_popularity_refuses_too(ranker):
    with pytest.raises(RankingRefusedError, match=r"5,?001 candidates given"):
        ranker.rank_by_popularity(a_request(candidates=tuple(range(5_001))))
