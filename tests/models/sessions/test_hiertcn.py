import numpy as np
import pytest
import torch

from rankstream.events.sequences import group_by_user
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.join import OfflineFeatures, session_vector
from rankstream.features.schema import FeatureSizes
from rankstream.features.sessions import MAX_SESSION_ITEMS, NoSessions
from rankstream.features.user_view import view_user
from rankstream.models.sessions.hiertcn import HierTCN, HierTCNConfig
from rankstream.models.sessions.hiertcn_training import HierTCNLearner, HierTCNTask, HierTCNTraining
from rankstream.models.sessions.sessionize import session_vectors_at, sessionize
from rankstream.models.training.checkpoints import fingerprint
from tests.builders.models import a_log, a_random_log, a_state, an_item_table

CONFIG = HierTCNConfig(item_dim=8, hidden=16, layer_state=12, state_layers=2, channels=(16, 16, 16))
HALF_STATE = 2e-3  # the user's record keeps the recurrent state in half precision


def a_model(config: HierTCNConfig = CONFIG) -> HierTCN:
    torch.manual_seed(0)
    return HierTCN(config).eval()


class TorchSessions:
    """The module as a ``SessionEncoder``."""

    def __init__(self, model: HierTCN) -> None:
        self.model = model
        self.tag = fingerprint(model)
        self.state_size = model.config.state_size
        self.dim = model.config.session_dim

    @torch.no_grad()
    def fold(self, states, pooled):
        return self.model.fold(torch.from_numpy(states), torch.from_numpy(pooled)).numpy()

    @torch.no_grad()
    def encode(self, state, closed, opened):
        state = torch.from_numpy(state)[None]
        for pooled in torch.from_numpy(closed):
            state = self.model.fold(state, pooled[None])
        start = torch.zeros(1, opened.shape[1])
        return self.model.encode(state, torch.cat([start, torch.from_numpy(opened)])).numpy()


@pytest.mark.parametrize("actions", [1, 30, 100, 101, 400])
def test_stepping_through_the_stream_returns_the_training_graphs_vector(actions):
    item_table, log, model = (
        an_item_table(),
        a_random_log(4, 33, actions, seed=actions),
        a_model(),
    )  # 3 items are unknown
    sequences = group_by_user(log, item_table)
    last = sequences.starts[1:] - 1
    trained = session_vectors_at(model, sequences, item_table, last)
    encoder = TorchSessions(model)
    offline = OfflineFeatures(FeatureSizes(), item_table, NoVectors(4), NoVectors(4), encoder)
    for user, row, wanted in zip(sequences.user_ids, last, trained, strict=True):
        state = a_state(log, user, encoder, item_table)
        now_ms = int(sequences.times_ms[row])
        served = session_vector(view_user(state, 0, now_ms, offline.users), offline)
        assert np.abs(served - wanted).max() < HALF_STATE


def test_fold_and_encode_are_the_whole_forward_in_steps():
    model = a_model()
    pooled, opened = torch.randn(2, 4, 8), torch.randn(2, 4, 6, 8)
    vectors = model(pooled, opened)  # (2, 4, 7, 8)
    for user in range(2):
        state = torch.zeros(1, CONFIG.state_size)
        for session in range(4):
            for items in range(7):
                started = torch.cat([torch.zeros(1, 8), opened[user, session, :items]])
                assert torch.allclose(model.encode(state, started), vectors[user, session, items], atol=1e-5)
            state = model.fold(state, pooled[user, session][None])


def test_what_comes_later_never_changes_an_earlier_vector():
    model = a_model()
    pooled, opened = torch.randn(1, 4, 8), torch.randn(1, 4, 6, 8)
    before = model(pooled, opened)
    pooled[:, 2:] += 1  # the third session's end
    opened[:, 2, 3:] += 1  # and its fourth item
    after = model(pooled, opened)
    assert torch.equal(before[:, :2], after[:, :2])
    assert torch.equal(before[:, 2, :4], after[:, 2, :4])
    assert not torch.allclose(before[:, 2, 4:], after[:, 2, 4:])
    assert not torch.allclose(before[:, 3], after[:, 3])


def test_a_session_vector_sees_as_far_back_as_a_session_is_kept():
    config = HierTCNConfig()
    assert config.receptive_field == 29
    assert config.receptive_field > MAX_SESSION_ITEMS


def test_sessions_are_cut_as_the_stream_cuts_them():
    item_table, log = an_item_table(), a_random_log(3, 30, 60)
    sequences = group_by_user(log, item_table)
    sessions = sessionize(sequences, item_table)
    for user in range(3):
        state = a_state(log, sequences.user_ids[user])
        offline = OfflineFeatures(FeatureSizes(), item_table, NoVectors(4), NoVectors(4), Counting(8))
        now_ms = int(sequences.times_ms[sequences.starts[user + 1] - 1])
        closed = session_vector(view_user(state, 0, now_ms, offline.users), offline)
        mine = slice(sessions.user_starts[user], sessions.user_starts[user + 1] - 1)
        assert np.allclose(closed, sessions.pooled[mine].sum(axis=0), atol=1e-5)


def test_sessions_that_are_averaged_some_at_a_time_have_the_means_of_all_at_once(monkeypatch):
    item_table = an_item_table()
    sequences = group_by_user(a_random_log(5, 30, 60), item_table)
    whole = sessionize(sequences, item_table)
    monkeypatch.setattr("rankstream.models.sessions.sessionize.AT_ONCE", 3)
    assert len(whole) > 2 * 3
    assert np.allclose(sessionize(sequences, item_table).pooled, whole.pooled, atol=1e-6)


def test_a_like_is_no_target_after_its_own_click():
    rows = [("u", 1, "view", 0), ("u", 1, "save", 0), ("u", 2, "view", 1), ("u", 2, "save", 1), ("u", 3, "view", 2)]
    task = a_task(rows, HierTCNTraining())
    batch = task.windows_of(np.zeros((1, 1), np.int64), np.random.default_rng(0))
    assert batch.opened[0, 0].tolist() == [1, 1, 2, 2, 3]  # all of it is input, as in serving
    assert batch.targets[0, 0][batch.loss_mask[0, 0]].tolist() == [1, 2, 3]


def a_task(rows, training) -> HierTCNTask:
    """What the first user of a log is trained on."""
    item_table = an_item_table()
    sequences = group_by_user(a_log(rows), item_table)
    learner, users, none = HierTCNLearner(a_model(), training), np.zeros(1, np.int64), np.zeros(0, np.int64)
    sessions = sessionize(sequences, item_table)
    return HierTCNTask(sequences, item_table, sessions, users, none, training, learner, torch.device("cpu"))


ROWS = [("u", 1, "view", 0), ("u", 1, "view", 1), ("u", 2, "view", 2), ("u", 3, "view", 3)]


def test_log_q_is_how_often_an_item_is_expected_in_a_pool():
    found = a_task(ROWS, HierTCNTraining(pool=60)).log_q[[1, 2, 9]]
    assert np.allclose(found, np.log([30 * 2 / 4 + 1, 30 * 1 / 4 + 1, 30 * 1 / 4 + 1]))  # 9 is never a target


class Counting(NoSessions):
    """Returns the sum of closed sessions' means instead of a vector."""

    def encode(self, state, closed, opened):
        return closed.sum(axis=0)
