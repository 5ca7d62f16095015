import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rankstream.events.sequences import timelines_of
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
from tests.builders.models import DAY_MS, a_catalogue, a_log, a_random_log

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
    chance, shares = np.random.default_rng(0), np.array([0.6, 0.3, 0.1, 0.0])
    pools = 4000
    met = np.zeros(4)
    for _ in range(pools):
        pool = np.concatenate([chance.choice(4, 30, p=shares), chance.integers(0, 4, 8)])
        met += np.bincount(pool, minlength=4)
    assert np.exp(log_pool_rate(shares, 30, 8, 4)) == pytest.approx(met / pools, rel=0.03)


@pytest.mark.parametrize("labels", [dense_labels, next_labels])
def test_log_q_is_how_often_batches_meet_an_item_as_a_negative(labels):
    """Users with long timelines are drawn as often as others, and batches may have fewer positives than asked for."""
    rows = [("busy", item, "save", minute) for minute, item in enumerate([1] * 60)]
    rows += [(f"u{user}", 2 + user % 3, "save", minute) for user in range(9) for minute in range(3)]
    catalogue = a_catalogue()
    timelines = timelines_of(a_log(rows), catalogue)
    training = PinnerFormerTraining(users=4, labels=labels, positions=4, in_batch=40, uniform=8)
    config = PinnerFormerConfig(action_types=3, item_dim=8, user_dim=8, hidden=8, layers=1, heads=2)
    learner = PinnerFormerLearner(PinnerFormer(config), training)
    everything, users = np.arange(len(timelines)), np.arange(timelines.num_users)
    task = PinnerFormerTask(timelines, catalogue, everything, users, training, learner, torch.device("cpu"))
    chance, met, pools = np.random.default_rng(0), np.zeros(len(catalogue)), 3000
    for _ in range(pools):
        pool = task.draw_pool(task.draw_labels(chance)[1], chance)
        assert len(pool) == 48
        met += np.bincount(pool, minlength=len(catalogue))
    expected = np.exp(task.log_q(np.arange(len(catalogue))).numpy())
    assert expected == pytest.approx(met / pools, rel=0.15)


def a_world():
    log = a_random_log(6, 30, 60)
    timelines = timelines_of(log, a_catalogue())
    return timelines, np.flatnonzero(timelines.actions == log.codes_of(["save"])[0])


@given(st.integers(0, 1000), st.integers(1, 80))
def test_windows_stay_within_their_user(seed, limit):
    timelines, _ = a_world()
    users = np.arange(6)
    windows = random_windows(timelines, users, limit, np.random.default_rng(seed))
    assert np.all((windows.lengths >= 1) & (windows.lengths <= limit))
    assert np.all((timelines.users[windows.starts] == users) & (timelines.users[windows.ends - 1] == users))


@given(st.integers(0, 1000), st.integers(1, 20))
def test_a_label_is_a_later_positive_of_the_same_user_within_the_horizon(seed, per_window):
    timelines, positives = a_world()
    chance = np.random.default_rng(seed)
    windows = random_windows(timelines, np.arange(6), 40, chance)
    labels = dense_labels(timelines, positives, windows, per_window, DAY_MS // 4, chance)
    for window, position, item in zip(labels.windows, labels.positions, labels.items, strict=True):
        row = windows.starts[window] + position
        assert row < windows.ends[window]
        later = timelines.times_ms - timelines.times_ms[row]
        right = (timelines.users == timelines.users[row]) & (later > 0) & (later <= DAY_MS // 4)
        assert item in timelines.item_rows[positives][right[positives]]
    assert np.bincount(labels.windows, minlength=6).max() <= per_window


def test_the_newest_position_is_always_asked_for():
    log = a_log([("u", item, "save", item) for item in range(20)])
    timelines = timelines_of(log, a_catalogue())
    windows = Windows(np.array([0]), np.array([15]))
    labels = dense_labels(timelines, np.arange(20), windows, 1, DAY_MS, np.random.default_rng(0))
    assert labels.positions.tolist() == [14]
    assert labels.items[0] >= 15


def test_every_positive_within_the_horizon_is_drawn_alike():
    log = a_log([("u", 0, "view", 0), *[("u", item, "save", item) for item in (1, 2, 3, 4)], ("u", 5, "save", 5000)])
    timelines = timelines_of(log, a_catalogue())
    windows, chance = Windows(np.zeros(4000, np.int64), np.ones(4000, np.int64)), np.random.default_rng(0)
    labels = dense_labels(timelines, np.arange(1, 6), windows, 1, DAY_MS, chance)
    counts = np.bincount(labels.items, minlength=6)
    assert counts[[0, 5]].tolist() == [0, 0]
    assert counts[1:5] == pytest.approx([1000] * 4, rel=0.12)


def test_own_positives_of_the_batch_are_hidden_from_their_user_only():
    labels = DenseLabels(np.array([0, 0, 1]), np.array([3, 4, 2]), np.array([7, 8, 9]))
    hidden = own_positives(labels, np.array([9, 8, 7, 1]))
    assert hidden.tolist() == [[False, True, True, False], [False, True, True, False], [True, False, False, False]]


def a_row_of_saves():
    timelines = timelines_of(a_log([("u", item, "save", item) for item in range(20)]), a_catalogue())
    return timelines, Windows(np.array([0]), np.array([10])), np.random.default_rng(0)


def test_next_action_asks_the_newest_position_for_the_next_positive():
    timelines, windows, chance = a_row_of_saves()
    labels = next_labels(timelines, np.arange(0, 20, 3), windows, 8, DAY_MS, chance)
    assert (labels.positions.tolist(), labels.items.tolist()) == ([9], [12])


def test_each_position_of_sasrec_is_asked_for_its_own_next_positive():
    timelines, windows, chance = a_row_of_saves()
    labels = each_next_labels(timelines, np.arange(20), windows, 20, DAY_MS, chance)
    assert np.array_equal(labels.items, labels.positions + 1)
    assert labels.positions.tolist() == list(range(10))


def test_all_action_asks_the_newest_position_for_different_items_of_its_future():
    timelines, windows, chance = a_row_of_saves()
    labels = all_action_labels(timelines, np.arange(20), windows, 6, DAY_MS, chance)
    assert set(labels.positions) == {9}
    assert len(set(labels.items)) == 6
    assert min(labels.items) >= 10


def test_nothing_is_asked_where_no_future_is_known():
    timelines, _, chance = a_row_of_saves()
    end = Windows(np.array([10]), np.array([20]))
    for draw in (next_labels, all_action_labels):
        assert not len(draw(timelines, np.arange(20), end, 4, DAY_MS, chance).items)
