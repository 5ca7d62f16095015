import numpy as np
import pytest

from rankstream.events.sequences import group_by_user
from rankstream.models.training.holdout import (
    Queries,
    future_queries,
    next_item_queries,
    random_recall,
    recall,
    recall_of_scores,
)
from tests.builders.models import DAY_MS, a_log, an_item_table

NONE = np.zeros(0, np.int64)


def a_query(relevant, excluded=NONE) -> Queries:
    return Queries(np.array([0]), (np.array(relevant),), (np.array(excluded, np.int64),))


def test_a_positive_is_found_if_fewer_than_k_others_score_higher():
    scores = np.array([[5.0, 4.0, 3.0, 2.0, 1.0]])
    assert recall_of_scores(scores, a_query([2]), k=2) == 0.0
    assert recall_of_scores(scores, a_query([2]), k=3) == 1.0
    assert recall_of_scores(scores, a_query([2], excluded=[0]), k=2) == 1.0  # what was seen is not ranked
    assert recall_of_scores(scores, a_query([2, 4]), k=3) == 0.5  # nor is another positive: ranks 2 and 3


def test_recall_by_vectors_is_that_of_all_scores_at_once():
    rng = np.random.default_rng(0)
    vectors, items = rng.standard_normal((600, 4)), rng.standard_normal((50, 4))
    queries = Queries(np.arange(600), tuple(rng.integers(0, 50, (600, 2))), (NONE,) * 600)
    assert recall(vectors, items, queries) == pytest.approx(recall_of_scores(vectors @ items.T, queries), abs=1e-12)
    assert recall(vectors[:0], items, Queries(NONE, (), ())) == 0.0


def test_the_sequences_of_some_users_are_theirs_alone():
    log = a_log([("u", 1, "save", 0), ("v", 2, "view", 1), ("v", 3, "save", 2), ("w", 4, "save", 3)])
    some = group_by_user(log, an_item_table()).of_users(np.array([1, 2]))
    assert (some.user_ids.tolist(), some.starts.tolist()) == (["v", "w"], [0, 2, 3])
    assert (some.item_rows.tolist(), some.users.tolist()) == ([2, 3, 4], [0, 0, 1])


def test_equal_scores_earn_no_more_than_random_order():
    rng = np.random.default_rng(0)
    queries = Queries(np.arange(200), tuple(rng.integers(0, 1000, (200, 1))), (NONE,) * 200)
    assert recall_of_scores(np.zeros((1, 1000)), queries, k=10) == 0.0
    noise = recall_of_scores(rng.random((200, 1000)), queries, k=100)
    assert noise == pytest.approx(random_recall(queries, 1000, k=100), abs=0.06)


def test_relevant_are_later_unseen_positives_within_the_horizon():
    log = a_log(
        [("u", 1, "save", 0), ("u", 2, "view", 1), ("u", 3, "save", 2), ("u", 1, "save", 3), ("u", 4, "save", 5000)]
    )
    sequences = group_by_user(log, an_item_table())
    positives = np.flatnonzero(sequences.actions == 2)
    queries = future_queries(sequences, positives, np.array([1, 4]), DAY_MS)
    assert queries.rows.tolist() == [1]
    assert [items.tolist() for items in queries.relevant] == [[3]]
    again = future_queries(sequences, positives, np.array([1]), DAY_MS, exclude_seen=False)
    assert again.relevant[0].tolist() == [1, 3]


def test_next_item_cases_stay_within_the_session():
    log = a_log([("u", 1, "save", 0), ("u", 2, "save", 10), ("u", 3, "save", 60), ("v", 4, "save", 61)])
    queries = next_item_queries(group_by_user(log, an_item_table()), np.arange(4))
    assert queries.rows.tolist() == [0]
    assert queries.relevant[0].tolist() == [2]


def test_one_more_action_on_an_item_with_the_same_timestamp_is_no_next_item():
    log = a_log(
        [("u", 1, "view", 0), ("u", 1, "save", 0), ("u", 2, "view", 5), ("u", 2, "view", 6), ("v", 2, "view", 6)]
    )
    sequences = group_by_user(log, an_item_table())
    assert sequences.again.tolist() == [False, True, False, False, False]  # seen again later is another matter
    queries = next_item_queries(sequences, np.arange(len(sequences)), exclude_seen=False)
    assert queries.rows.tolist() == [1, 2]
    assert [items.tolist() for items in queries.relevant] == [[2], [2]]


def test_items_of_one_timestamp_are_counted_once_each_in_any_order():
    rows = [("u", 1, "view", 0), ("u", 2, "view", 0), ("u", 1, "save", 0), ("u", 2, "save", 0)]
    sequences = group_by_user(a_log(rows), an_item_table())
    assert sequences.again.sum() == 2
    assert len(set(sequences.item_rows[~sequences.again].tolist())) == 2
