import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rankstream.events.sequences import group_by_user
from rankstream.models.training.negatives import CountSketch, log_pool_rate
from rankstream.models.users.labels import (
    DenseLabels,
    Windows,
    all_action_labels,
    dense_labels,
    each_next_labels,
    next_labels,
    random_windows,
)
from rankstream.models.users.pinnerformer import PinnerFormer, PinnerFormerConfig
from rankstream.models.users.pinnerformer_training import (
    PinnerFormerLearner,
    PinnerFormerTask,
    PinnerFormerTraining,
    own_positives,
)
from tests.builders.models import DAY_MS, a_log, a_random_log, an_item_table

ITEMS = st.lists(st.integers(0, 200), max_size=300)


@given(ITEMS)
def test_a_sketch_never_counts_too_little(items):
    sketch = CountSketch(width=64, depth=4)
    sketch.add(np.array(items, np.int64))
    for item in set(items):
        assert sketch.count(np.array([item]))[0] >= items.count(item)


@given(ITEMS)
def test_a_sketch_as_wide_as_the_catalogue_is_exact(items):
    sketch = CountSketch(width=201, depth=1)
    sketch.add(np.array(items, np.int64))
    assert sketch.count(np.arange(201)).tolist() == [items.count(item) for item in range(201)]


def test_log_q_is_how_often_an_item_is_met_in_a_pool():
    rng, shares = np.random.default_rng(0), np.array([0.6, 0.3, 0.1, 0.0])
    pools = 4000
    met = np.zeros(4)
    for _ in range(pools):
        pool = np.concatenate([rng.choice(4, 30, p=shares), rng.integers(0, 4, 8)])
        met += np.bincount(pool, minlength=4)
    assert np.exp(log_pool_rate(shares, 30, 8, 4)) == pytest.approx(met / pools, rel=0.03)


@pytest.mark.parametrize("labels", [dense_labels, next_labels])
def test_log_q_is_how_often_batches_meet_an_item_as_a_negative(labels):
    """Users with long sequences are drawn as often as others, and batches may have fewer positives than configured."""
    rows = [("busy", item, "save", minute) for minute, item in enumerate([1] * 60)]
    rows += [(f"u{user}", 2 + user % 3, "save", minute) for user in range(9) for minute in range(3)]
    item_table = an_item_table()
    sequences = group_by_user(a_log(rows), item_table)
    training = PinnerFormerTraining(users=4, labels=labels, positions=4, in_batch=40, uniform=8)
    config = PinnerFormerConfig(action_types=3, item_dim=8, user_dim=8, hidden=8, layers=1, heads=2)
    learner = PinnerFormerLearner(PinnerFormer(config), training)
    everything, users = np.arange(len(sequences)), np.arange(sequences.num_users)
    task = PinnerFormerTask(sequences, item_table, everything, users, training, learner, torch.device("cpu"))
    rng, met, pools = np.random.default_rng(0), np.zeros(len(item_table)), 3000
    for _ in range(pools):
        pool = task.sample_negatives(task.sample_labels(rng)[1], rng)
        assert len(pool) == 48
        met += np.bincount(pool, minlength=len(item_table))
    expected = np.exp(task.log_q(np.arange(len(item_table))).numpy())
    assert expected == pytest.approx(met / pools, rel=0.15)


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
        right = (sequences.users == sequences.users[row]) & (later > 0) & (later <= DAY_MS // 4)
        assert item in sequences.item_rows[positives][right[positives]]
    assert np.bincount(labels.windows, minlength=6).max() <= per_window


def test_the_newest_position_is_always_asked_for():
    log = a_log([("u", item, "save", item) for item in range(20)])
    sequences = group_by_user(log, an_item_table())
    windows = Windows(np.array([0]), np.array([15]))
    labels = dense_labels(sequences, np.arange(20), windows, 1, DAY_MS, np.random.default_rng(0))
    assert labels.positions.tolist() == [14]
    assert labels.items[0] >= 15


def test_every_positive_within_the_horizon_is_drawn_alike():
    log = a_log([("u", 0, "view", 0), *[("u", item, "save", item) for item in (1, 2, 3, 4)], ("u", 5, "save", 5000)])
    sequences = group_by_user(log, an_item_table())
    windows, rng = Windows(np.zeros(4000, np.int64), np.ones(4000, np.int64)), np.random.default_rng(0)
    labels = dense_labels(sequences, np.arange(1, 6), windows, 1, DAY_MS, rng)
    counts = np.bincount(labels.items, minlength=6)
    assert counts[[0, 5]].tolist() == [0, 0]
    assert counts[1:5] == pytest.approx([1000] * 4, rel=0.12)


def test_own_positives_of_the_batch_are_hidden_from_their_user_only():
    labels = DenseLabels(np.array([0, 0, 1]), np.array([3, 4, 2]), np.array([7, 8, 9]))
    mask = own_positives(labels, np.array([9, 8, 7, 1]))
    assert mask.tolist() == [[False, True, True, False], [False, True, True, False], [True, False, False, False]]


def a_row_of_saves():
    sequences = group_by_user(a_log([("u", item, "save", item) for item in range(20)]), an_item_table())
    return sequences, Windows(np.array([0]), np.array([10])), np.random.default_rng(0)


def test_next_action_asks_the_newest_position_for_the_next_positive():
    sequences, windows, rng = a_row_of_saves()
    labels = next_labels(sequences, np.arange(0, 20, 3), windows, 8, DAY_MS, rng)
    assert (labels.positions.tolist(), labels.items.tolist()) == ([9], [12])


def test_each_position_of_sasrec_is_asked_for_its_own_next_positive():
    sequences, windows, rng = a_row_of_saves()
    labels = each_next_labels(sequences, np.arange(20), windows, 20, DAY_MS, rng)
    assert np.array_equal(labels.items, labels.positions + 1)
    assert labels.positions.tolist() == list(range(10))


def test_all_action_asks_the_newest_position_for_different_items_of_its_future():
    sequences, windows, rng = a_row_of_saves()
    labels = all_action_labels(sequences, np.arange(20), windows, 6, DAY_MS, rng)
    assert set(labels.positions) == {9}
    assert len(set(labels.items)) == 6
    assert min(labels.items) >= 10


def test_nothing_is_asked_where_no_future_is_known():
    sequences, _, rng = a_row_of_saves()
    end = Windows(np.array([10]), np.array([20]))
    for draw in (next_labels, all_action_labels):
        assert not len(draw(sequences, np.arange(20), end, 4, DAY_MS, rng).items)
