import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstream.events.sequences import group_by_user
from rankstream.models.users.labels import (
    Windows,
    all_action_labels,
    dense_labels,
    each_next_labels,
    next_labels,
    random_windows,
)
from tests.builders.models import DAY_MS, a_log, a_random_log, an_item_table


def a_world():
    log = a_random_log(6, 30, 60)
    sequences = group_by_user(log, an_item_table())
    return sequences, np.flatnonzero(sequences.actions == log.codes_of(["save"])[0])


@given(st.integers(0, 1000), st.integers(1, 80))
def test_windows_stay_within_their_user(seed, limit):
    sequences, _ = a_world()
    users = np.arange(6)
    windows = random_windows(sequences, users, limit, np.random.default_rng(seed))
    assert np.all((windows.lengths >= 1) & (windows.lengths <= limit))
    assert np.all((sequences.users[windows.starts] == users) & (sequences.users[windows.ends - 1] == users))


@given(st.integers(0, 1000), st.integers(1, 20))
def test_a_label_is_a_later_positive_of_the_same_user_within_the_horizon(seed, per_window):
    sequences, positives = a_world()
    rng = np.random.default_rng(seed)
    windows = random_windows(sequences, np.arange(6), 40, rng)
    labels = dense_labels(sequences, positives, windows, per_window, DAY_MS // 4, rng)
    for window, position, item in zip(labels.windows, labels.positions, labels.items, strict=True):
        row = windows.starts[window] + position
        assert row < windows.ends[window]
        later = sequences.times_ms - sequences.times_ms[row]
        relevant = (sequences.users == sequences.users[row]) & (later > 0) & (later <= DAY_MS // 4)
        assert item in sequences.item_rows[positives][relevant[positives]]
    assert np.bincount(labels.windows, minlength=6).max() <= per_window


def test_the_newest_position_always_has_a_label():
    log = a_log([("u", item, "save", item) for item in range(20)])
    sequences = group_by_user(log, an_item_table())
    windows = Windows(np.array([0]), np.array([15]))
    labels = dense_labels(sequences, np.arange(20), windows, 1, DAY_MS, np.random.default_rng(0))
    assert labels.positions.tolist() == [14]
    assert labels.items[0] >= 15


def test_every_positive_within_the_horizon_is_sampled_alike():
    log = a_log([("u", 0, "view", 0), *[("u", item, "save", item) for item in (1, 2, 3, 4)], ("u", 5, "save", 5000)])
    sequences = group_by_user(log, an_item_table())
    windows, rng = Windows(np.zeros(4000, np.int64), np.ones(4000, np.int64)), np.random.default_rng(0)
    labels = dense_labels(sequences, np.arange(1, 6), windows, 1, DAY_MS, rng)
    counts = np.bincount(labels.items, minlength=6)
    assert counts[[0, 5]].tolist() == [0, 0]
    assert counts[1:5] == pytest.approx([1000] * 4, rel=0.12)


def a_row_of_saves():
    sequences = group_by_user(a_log([("u", item, "save", item) for item in range(20)]), an_item_table())
    return sequences, Windows(np.array([0]), np.array([10])), np.random.default_rng(0)


def test_next_action_labels_the_newest_position_with_the_next_positive():
    sequences, windows, rng = a_row_of_saves()
    labels = next_labels(sequences, np.arange(0, 20, 3), windows, 8, DAY_MS, rng)
    assert (labels.positions.tolist(), labels.items.tolist()) == ([9], [12])


def test_each_position_of_sasrec_is_labelled_with_its_own_next_positive():
    sequences, windows, rng = a_row_of_saves()
    labels = each_next_labels(sequences, np.arange(20), windows, 20, DAY_MS, rng)
    assert np.array_equal(labels.items, labels.positions + 1)
    assert labels.positions.tolist() == list(range(10))


def test_all_action_labels_the_newest_position_with_different_items_of_its_future():
    sequences, windows, rng = a_row_of_saves()
    labels = all_action_labels(sequences, np.arange(20), windows, 6, DAY_MS, rng)
    assert set(labels.positions) == {9}
    assert len(set(labels.items)) == 6
    assert min(labels.items) >= 10


def test_there_are_no_labels_where_no_future_is_known():
    sequences, _, rng = a_row_of_saves()
    end = Windows(np.array([10]), np.array([20]))
    for labels_of in (next_labels, all_action_labels):
        assert not len(labels_of(sequences, np.arange(20), end, 4, DAY_MS, rng).items)
