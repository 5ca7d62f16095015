import numpy as np
import pytest
import torch

from rankstream.events.sequences import group_by_user
from rankstream.experiments.music.session_baselines import HRNN, HRNNConfig
from rankstream.experiments.music.session_queues import QueueLearner, QueueTask, SessionQueues
from rankstream.models.sessions.hiertcn import HierTCN, HierTCNConfig
from rankstream.models.sessions.hiertcn_training import HierTCNLearner, HierTCNTask, HierTCNTraining
from rankstream.models.sessions.sessionize import sessionize
from tests.builders.models import a_random_log, an_item_table

HIERTCN = HierTCNConfig(item_dim=8, hidden=12, layer_state=10, channels=(12, 12))


def some_sessions():
    item_table = an_item_table()
    sequences = group_by_user(a_random_log(20, 30, 120), item_table)
    return sequences, item_table, sessionize(sequences, item_table)


def some_queues(sessions, queues=3, run=4):
    return SessionQueues(sessions, np.arange(20), queues, run, seed=1)


def test_a_queue_holds_users_whole_and_one_after_the_other():
    _, _, sessions = some_sessions()
    queues = some_queues(sessions)
    seen = np.concatenate([queues.at(step).sessions for step in range(queues.steps_an_epoch)], axis=1)
    for queue in seen:
        follows = (np.diff(queue) == 1) | (sessions.user_starts[sessions.users[queue[1:]]] == queue[1:])
        assert follows.all()
    assert len(np.unique(seen)) == seen.size


def test_queues_are_as_long_as_one_another():
    _, _, sessions = some_sessions()
    lengths = [len(queue) for queue in some_queues(sessions)._epoch(0)]
    assert max(lengths) - min(lengths) <= np.diff(sessions.user_starts).max()
    assert sum(lengths) == len(sessions)


def test_a_state_is_reset_with_each_user():
    _, _, sessions = some_sessions()
    batch = some_queues(sessions).at(0)
    firsts = np.isin(batch.sessions, sessions.user_starts[:-1])
    assert np.array_equal(batch.fresh, firsts)
    assert batch.fresh[:, 0].all()


def test_another_epoch_has_another_order_and_the_same_seed_the_same():
    _, _, sessions = some_sessions()
    queues, again = some_queues(sessions), some_queues(sessions)
    epoch = queues.steps_an_epoch
    assert not np.array_equal(queues.at(0).sessions, queues.at(epoch).sessions)
    assert np.array_equal(queues.at(epoch + 1).sessions, again.at(epoch + 1).sessions)


def test_more_queues_than_sessions_are_refused():
    _, _, sessions = some_sessions()
    with pytest.raises(ValueError, match="wanted fewer queues"):
        some_queues(sessions, queues=2000)


@pytest.mark.parametrize("model", [HierTCN(HIERTCN), HRNN(HRNNConfig(8, 10))])
def test_a_state_carried_over_steps_is_the_state_of_all_sessions_at_once(model):
    opened, lengths = torch.randn(2, 6, 5, 8), torch.full((2, 6), 5)
    pooled, fresh = opened.mean(2), torch.zeros(2, 6, dtype=torch.bool)
    fresh[:, 0] = fresh[1, 4] = True
    start = torch.randn(2, 10)  # of users before: forgotten
    whole, after = model.over_sessions(opened, lengths, pooled, start, fresh)
    first, states = model.over_sessions(opened[:, :2], lengths[:, :2], pooled[:, :2], start, fresh[:, :2])
    second, states = model.over_sessions(opened[:, 2:], lengths[:, 2:], pooled[:, 2:], states, fresh[:, 2:])
    assert torch.allclose(torch.cat([first, second], dim=1), whole, atol=1e-6)
    assert torch.allclose(states, after, atol=1e-6)


def test_training_from_queues_goes_on_where_it_was_saved():
    one, other = a_queue_task(learn_items=True), a_queue_task(learn_items=True)
    for step in range(3):
        one.sample_loss(np.random.default_rng(step))
    other.learner.load_state_dict(one.learner.state_dict())
    losses = [task.sample_loss(np.random.default_rng(9)) for task in (one, other)]
    assert torch.equal(*losses)
    assert one.learner.turn == 4
    assert torch.isfinite(losses[0])


def a_queue_task(learn_items=False):
    sequences, item_table, sessions = some_sessions()
    training = HierTCNTraining(users=3, sessions=4)
    torch.manual_seed(0)
    model = HierTCN(HIERTCN)
    learner = QueueLearner(model, 10, training, item_table.vectors if learn_items else None)
    base = HierTCNTask(
        sequences, item_table, sessions, np.arange(20), np.zeros(0, np.int64), training,
        HierTCNLearner(model, training), torch.device("cpu"),
    )  # fmt: skip
    return QueueTask(base, some_queues(sessions), learner)


def test_means_of_sessions_by_the_fixed_items_are_the_cached_ones():
    base = a_queue_task().base
    which = np.append(np.arange(len(base.sessions)), -1)[None]
    pooled = base.pooled_of(which, base.items).numpy()
    assert np.allclose(pooled[0, :-1], base.sessions.pooled, atol=1e-6)
    assert not pooled[0, -1].any()


def test_learned_items_start_as_the_fixed_ones_and_learn():
    fixed, learning = a_queue_task(), a_queue_task(learn_items=True)
    loss = learning.sample_loss(np.random.default_rng(0))
    assert torch.allclose(loss, fixed.sample_loss(np.random.default_rng(0)), atol=1e-5)
    loss.backward()
    assert learning.learner.items.grad.abs().sum() > 0
    assert "items" in learning.learner.state_dict()
    assert "items" not in fixed.learner.state_dict()
