import numpy as np
import pytest

from rankstream.events.sequences import timelines_of
from rankstream.models.training.holdout import Cases, chance_recall, future_cases, next_item_cases, recall_of_scores
from tests.builders.models import DAY_MS, a_catalogue, a_log

NONE = np.zeros(0, np.int64)


def a_case(answers, hidden=NONE) -> Cases:
    return Cases(np.array([0]), (np.array(answers),), (np.array(hidden, np.int64),))


def test_a_positive_is_found_if_fewer_than_k_others_score_higher():
    scores = np.array([[5.0, 4.0, 3.0, 2.0, 1.0]])
    assert recall_of_scores(scores, a_case([2]), k=2) == 0.0
    assert recall_of_scores(scores, a_case([2]), k=3) == 1.0
    assert recall_of_scores(scores, a_case([2], hidden=[0]), k=2) == 1.0  # what was seen is no rival
    assert recall_of_scores(scores, a_case([2, 4]), k=3) == 0.5  # nor is another positive: ranks 2 and 3


def test_equal_scores_earn_what_chance_would():
    chance = np.random.default_rng(0)
    cases = Cases(np.arange(200), tuple(chance.integers(0, 1000, (200, 1))), (NONE,) * 200)
    assert recall_of_scores(np.zeros((1, 1000)), cases, k=10) == 0.0
    noise = recall_of_scores(chance.random((200, 1000)), cases, k=100)
    assert noise == pytest.approx(chance_recall(cases, 1000, k=100), abs=0.06)


def test_future_cases_ask_for_later_unseen_positives_within_the_horizon():
    log = a_log(
        [("u", 1, "save", 0), ("u", 2, "view", 1), ("u", 3, "save", 2), ("u", 1, "save", 3), ("u", 4, "save", 5000)]
    )
    timelines = timelines_of(log, a_catalogue())
    positives = np.flatnonzero(timelines.actions == 2)
    cases = future_cases(timelines, positives, np.array([1, 4]), DAY_MS)
    assert cases.rows.tolist() == [1]
    assert [answer.tolist() for answer in cases.answers] == [[3]]
    again = future_cases(timelines, positives, np.array([1]), DAY_MS, exclude_seen=False)
    assert again.answers[0].tolist() == [1, 3]


def test_next_item_cases_stay_within_the_session():
    log = a_log([("u", 1, "save", 0), ("u", 2, "save", 10), ("u", 3, "save", 60), ("v", 4, "save", 61)])
    cases = next_item_cases(timelines_of(log, a_catalogue()), np.arange(4))
    assert cases.rows.tolist() == [0]
    assert cases.answers[0].tolist() == [2]


def test_one_more_action_on_an_item_at_the_same_moment_is_no_next_item():
    log = a_log(
        [("u", 1, "view", 0), ("u", 1, "save", 0), ("u", 2, "view", 5), ("u", 2, "view", 6), ("v", 2, "view", 6)]
    )
    timelines = timelines_of(log, a_catalogue())
    assert timelines.again.tolist() == [False, True, False, False, False]  # seen again later is another matter
    cases = next_item_cases(timelines, np.arange(len(timelines)), exclude_seen=False)
    assert cases.rows.tolist() == [1, 2]
    assert [answer.tolist() for answer in cases.answers] == [[2], [2]]


def test_of_a_moment_with_several_items_each_is_one_thing_wherever_its_actions_stand():
    rows = [("u", 1, "view", 0), ("u", 2, "view", 0), ("u", 1, "save", 0), ("u", 2, "save", 0)]
    timelines = timelines_of(a_log(rows), a_catalogue())
    assert timelines.again.sum() == 2
    assert len(set(timelines.item_rows[~timelines.again].tolist())) == 2
