import numpy as np
import pytest
import torch

from rankstream.events.sequences import group_by_user
from rankstream.models.users.labels import DenseLabels, dense_labels, next_labels
from rankstream.models.users.pinnerformer import PinnerFormer, PinnerFormerConfig
from rankstream.models.users.pinnerformer_training import (
    PinnerFormerLearner,
    PinnerFormerTask,
    PinnerFormerTraining,
    own_positives,
)
from tests.builders.models import a_log, an_item_table


@pytest.mark.parametrize("labels", [dense_labels, next_labels])
def test_log_q_is_how_often_batches_have_an_item_as_a_negative(labels):
    """Users with long sequences are sampled as often as others; batches may have fewer positives than configured."""
    rows = [("busy", item, "save", minute) for minute, item in enumerate([1] * 60)]
    rows += [(f"u{user}", 2 + user % 3, "save", minute) for user in range(9) for minute in range(3)]
    item_table = an_item_table()
    sequences = group_by_user(a_log(rows), item_table)
    training = PinnerFormerTraining(users=4, labels=labels, positions=4, in_batch=40, uniform=8)
    config = PinnerFormerConfig(action_types=3, item_dim=8, user_dim=8, hidden=8, layers=1, heads=2)
    learner = PinnerFormerLearner(PinnerFormer(config), training)
    everything, users = np.arange(len(sequences)), np.arange(sequences.num_users)
    task = PinnerFormerTask(sequences, item_table, everything, users, training, learner, torch.device("cpu"))
    rng, seen, pools = np.random.default_rng(0), np.zeros(len(item_table)), 3000
    for _ in range(pools):
        pool = task.sample_negatives(task.sample_labels(rng)[1], rng)
        assert len(pool) == 48
        seen += np.bincount(pool, minlength=len(item_table))
    expected = np.exp(task.log_q(np.arange(len(item_table))).numpy())
    assert expected == pytest.approx(seen / pools, rel=0.15)


def test_own_positives_of_the_batch_are_masked_for_their_user_only():
    labels = DenseLabels(np.array([0, 0, 1]), np.array([3, 4, 2]), np.array([7, 8, 9]))
    mask = own_positives(labels, np.array([9, 8, 7, 1]))
    assert mask.tolist() == [[False, True, True, False], [False, True, True, False], [True, False, False, False]]
