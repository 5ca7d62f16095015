import numpy as np
import pytest

from rankstream.features.actions import columns, pack_action
from rankstream.features.embeddings.table import EmbeddingTable, publish
from rankstream.retrieval.index.base import unit
from rankstream.retrieval.sources.recent_likes import FeedbackPolarity, user_queries

VIEW, SAVE, HIDE = 1, 2, 3
POLARITY = FeedbackPolarity(positive=frozenset({SAVE}), negative=frozenset({HIDE}))
NO_VECTOR = np.zeros(3, np.float32)


@pytest.fixture
def items(tmp_path):
    publish(tmp_path, [1, 2, 3], np.eye(3), space="items", as_of_ms=0)
    return EmbeddingTable.open(tmp_path)


def acted(*actions):
    return columns(b"".join(pack_action(1000 - n, code, item, 0, 0) for n, (code, item) in enumerate(actions)))


def test_a_user_is_looked_for_by_the_items_they_liked(items):
    queries = user_queries(acted((VIEW, 1), (SAVE, 2), (HIDE, 3)), POLARITY, items, NO_VECTOR)
    assert queries.tolist() == [[0, 1, 0]]


def test_who_liked_nothing_yet_is_looked_for_by_what_they_did_not_dislike(items):
    assert user_queries(acted((VIEW, 1), (HIDE, 3)), POLARITY, items, NO_VECTOR).tolist() == [[1, 0, 0]]
    assert user_queries(acted((HIDE, 3)), POLARITY, items, NO_VECTOR).shape == (0, 3)


def test_a_user_vector_counts_where_it_lives_among_the_items(items):
    user = np.array([0, 0, 2], np.float32)
    assert user_queries(acted((SAVE, 1)), POLARITY, items, user).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert user_queries(acted((SAVE, 1)), POLARITY, items, user[:2]).tolist() == [[1, 0, 0]]


def test_nothing_known_gives_no_query(items):
    assert user_queries(acted((SAVE, 99)), POLARITY, items, NO_VECTOR).shape == (0, 3)
    assert unit(np.array([[0, 4, 0], [0, 0, 0]], np.float32)).tolist() == [[0, 1, 0], [0, 0, 0]]
