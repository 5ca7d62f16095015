"""Baselines on a held-out part: each query is answered by what happened before it, in whatever order queries come."""

import numpy as np

from rankstream.evaluation.baselines.held_out_log import Moment, numbered, scores_at
from rankstream.events.log import event_log
from rankstream.features.ids import id_keys
from tests.builders.bundle import VOCABULARY

START, MINUTE = 1_700_000_000_000, 60_000
KEYS = id_keys([10, 11, 12])
SAVE = VOCABULARY.action_codes["save"]


def a_log(rows):
    users, items, times = zip(*rows, strict=True)
    return event_log(
        VOCABULARY, np.array(users), np.array(items), np.full(len(rows), SAVE), START + MINUTE * np.array(times)
    )


def answers(log, *moments):
    return scores_at(log, moments, KEYS, positives=1 << SAVE, impressions=False)


def test_items_are_numbered_by_the_table_and_others_after_it():
    assert numbered(id_keys([99, 12, 10, 50, 99]), KEYS).tolist() == [4, 2, 0, 3, 4]


def test_each_query_is_answered_by_what_happened_before_it():
    log = a_log([(1, 10, 0), (1, 11, 1), (2, 10, 100), (2, 11, 101), (3, 10, 200), (3, 12, 201), (4, 10, 300)])
    late, early = Moment(4, START + 301 * MINUTE), Moment(3, START + 201 * MINUTE)
    found = [asked.scores["next after the last item"] for asked in answers(log, late, early).asked]
    assert found[0].of(np.arange(3)).tolist() == [0.0, 2.0, 1.0]
    assert found[1].of(np.arange(3)).tolist() == [0.0, 2.0, 0.0]


def test_the_users_own_items_may_be_those_up_to_a_row_of_the_same_time():
    log = a_log([(1, 10, 0), (1, 12, 1), (2, 10, 100), (2, 11, 100)])
    asked = answers(log, Moment(2, START + 100 * MINUTE, np.array([0]), in_session=1)).asked[0]
    assert asked.scores["next after the last item"].of(np.arange(3)).tolist() == [0.0, 0.0, 1.0]


def test_an_item_without_a_vector_is_known_to_the_baselines_but_stands_behind_the_table():
    log = a_log([(1, 10, 0), (1, 77, 1), (2, 10, 100)])
    found = answers(log, Moment(2, START + 101 * MINUTE))
    scores = found.asked[0].scores["next after the last item"]
    assert not scores.of(np.arange(3)).any()
    assert scores.of(found.items.rows_of(id_keys([77]))).tolist() == [1.0]
