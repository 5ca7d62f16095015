import numpy as np

from rankstream.events.sequences import group_by_user
from rankstream.experiments.music.data import (
    FRESHNESS,
    MusicSplit,
    baseline_hits,
    coverage,
    hits_by_user,
    hits_of_scores,
    last_items,
    spelled,
    target_items,
)
from rankstream.experiments.music.next_items import baseline_ranks, moving_averages, next_items, ranks_of_scores
from rankstream.experiments.music.tables import Row
from tests.builders.models import START_MS, a_log, an_item_table

DAY = 24 * 60  # minutes


def a_split():
    """Two users; the first one plays 1 and 2 before T0 (day 5), then 3, 4 and 3 again, a day apart."""
    rows = [("a", 1, "view", 0), ("a", 2, "view", DAY), ("b", 9, "view", 0)]
    rows += [("a", 3, "view", 6 * DAY), ("a", 4, "view", 7 * DAY), ("a", 3, "view", 7 * DAY + 5)]
    log = a_log(rows)
    return MusicSplit(log, log, np.array(["a"], object), START_MS + 5 * DAY * 60_000)


def test_each_target_has_the_vector_of_its_time():
    sequences = group_by_user(a_split().all_users, an_item_table())
    targets = target_items(sequences, a_split())
    assert targets.items.tolist() == [3, 4]
    assert targets.counts.tolist() == [2]
    assert sequences.item_rows[targets.rows["once"]].tolist() == [2, 2]
    assert sequences.item_rows[targets.rows["daily"]].tolist() == [2, 3]
    assert sequences.item_rows[targets.rows["session"]].tolist() == [2, 3]
    assert sequences.item_rows[targets.rows["realtime"]].tolist() == [2, 3]


def test_a_sessions_vector_knows_no_play_of_the_session_and_no_less_than_the_one_made_once():
    minutes = [0, 5, 5 * DAY - 10, 5 * DAY + 10, 6 * DAY, 6 * DAY + 5]  # T0 lies within the second session
    log = a_log([("a", item, "view", at) for item, at in enumerate(minutes)])
    split = MusicSplit(log, log, np.array(["a"], object), START_MS + 5 * DAY * 60_000)
    sequences = group_by_user(log, an_item_table())
    targets = target_items(sequences, split)
    assert targets.items.tolist() == [3, 4, 5]
    assert targets.rows["once"].tolist() == [2, 2, 2]
    assert targets.rows["session"].tolist() == [2, 3, 3]
    assert targets.rows["realtime"].tolist() == [2, 3, 4]


def test_no_vector_is_made_after_what_it_is_targets_for():
    sequences = group_by_user(a_split().all_users, an_item_table())
    targets = target_items(sequences, a_split())
    first_plays = sequences.times_ms[[2, 3]]
    for rows in targets.rows.values():
        assert (sequences.times_ms[rows] < first_plays).all()


def test_a_users_other_items_do_not_stand_in_the_way():
    sequences = group_by_user(a_split().all_users, an_item_table())
    targets = target_items(sequences, a_split())
    scores = np.zeros((2, 30), np.float32)
    scores[:, 4], scores[:, 3] = 2.0, 1.0
    assert hits_of_scores(scores, targets, k=1).tolist() == [True, True]
    scores[:, 5] = 3.0
    assert hits_of_scores(scores, targets, k=1).tolist() == [False, False]
    assert hits_by_user(hits_of_scores(scores, targets, k=2), targets) == "2"


def test_the_last_items_are_scored_like_vectors_other_targets_take_no_position():
    """Eleven songs are repeated in the same order: without the other targets each is among the newest ten."""
    rows = [("a", item, "view", item) for item in range(11)]
    rows += [("a", item, "view", 6 * DAY + item) for item in range(11)]
    log = a_log(rows)
    split = MusicSplit(log, log, np.array(["a"], object), START_MS + 5 * DAY * 60_000)
    sequences = group_by_user(log, an_item_table())
    targets = target_items(sequences, split)
    assert len(targets.items) == 10
    found = baseline_hits(sequences, an_item_table(), split, targets)["last 10 items"]
    assert found == dict.fromkeys(FRESHNESS, "a")


def test_equal_scores_earn_no_more_than_random_order():
    assert ranks_of_scores(np.zeros((1, 11), np.float32), np.array([4])).tolist() == [6.0]


def test_what_was_just_played_is_not_ranked():
    log = a_log([("a", item, "view", minute) for minute, item in enumerate([1, 2, 2, 3])])
    sequences = group_by_user(log, an_item_table())
    queries = next_items(sequences, MusicSplit(log, log, np.array(["a"], object), START_MS))
    assert queries.items.tolist() == [2, 3]
    assert queries.current.tolist() == [1, 2]
    scores = np.array([[0.0, 9.0, 5.0, 7.0], [0.0, 0.0, 9.0, 5.0]], np.float32)
    assert ranks_of_scores(scores, queries.items, queries.current).tolist() == [2.0, 1.0]
    popularity = baseline_ranks(sequences, an_item_table(), a_split(), queries)["popularity"]
    assert popularity.tolist() == [1.0, 1.5]  # 2 was played twice; without it 1 and 3 share rank 1


def test_coverage_is_the_share_of_items_behind_most_positions():
    lists = np.array([[0, 1], [0, 1], [0, 1], [0, 1], [0, 2]])
    assert coverage(lists, num_items=10) == 0.2


def test_recent_items_and_their_average_stop_at_the_row():
    sequences = group_by_user(a_split().all_users, an_item_table())
    assert last_items(sequences, 3) == {1, 2, 3, 4}
    assert last_items(sequences, 4, count=2) == {3, 4}
    assert last_items(sequences, 4, count=2, without={4}) == {2, 3}  # what does not count takes no position
    mean = moving_averages(sequences, an_item_table(), np.array([1]))
    assert np.allclose(mean[0], an_item_table().vectors[[1, 2]].mean(0))


def test_seeds_are_averaged_user_by_user():
    row = Row(({"targets": "4a", "hits": {"once": "15"}}, {"targets": "4a", "hits": {"once": "3a"}}))
    assert row.recall("once").tolist() == [0.5, 0.75]
    assert spelled("0a").tolist() == [0.0, 10.0]
