import numpy as np
import pytest
import torch

from rankstream.events.sequences import group_by_user
from rankstream.experiments.music.next_items import hrnn_vectors_at
from rankstream.experiments.music.padded_histories import PaddedTask, flat_vectors_at
from rankstream.experiments.music.session_baselines import (
    HRNN,
    FlatGRU,
    FlatGRUConfig,
    FlatTCN,
    FlatTCNConfig,
    HRNNConfig,
)
from rankstream.experiments.music.session_costs import _served
from rankstream.models.sessions.hiertcn import HierTCN, HierTCNConfig
from rankstream.models.sessions.hiertcn_training import HierTCNTraining, SessionLearner
from rankstream.models.sessions.sessionize import session_vectors_at
from tests.builders.models import a_markov_log, a_random_log, an_item_table

MODELS = [
    FlatGRU(FlatGRUConfig(8, 12)),
    FlatTCN(FlatTCNConfig(8, (12, 12))),
    HRNN(HRNNConfig(8, 10)),
    HierTCN(HierTCNConfig(item_dim=8, hidden=12, layer_state=10, channels=(12, 12, 12))),
]


def some_sequences():
    item_table = an_item_table()
    return group_by_user(a_random_log(3, 30, 60), item_table), item_table


@pytest.mark.parametrize("model", MODELS[:2])
def test_what_comes_later_never_changes_an_earlier_vector_of_a_flat_model(model):
    items = torch.randn(2, 30, 8)
    changed = items.clone()
    changed[:, 20:] += 1
    assert torch.equal(model(items)[:, :20], model(changed)[:, :20])


@pytest.mark.parametrize("model", MODELS)
@torch.no_grad()
def test_what_is_served_step_by_step_is_what_is_measured(model):
    """The costs are of the very vectors that the recall is of."""
    item_table = an_item_table()
    sequences = group_by_user(a_markov_log(3, 30, 40, 0.5), item_table)
    starting = np.zeros(len(sequences), np.bool_)
    starting[sequences.session_starts()] = True
    vectors_at = {FlatGRU: flat_vectors_at, FlatTCN: flat_vectors_at, HRNN: hrnn_vectors_at}.get(
        type(model), session_vectors_at
    )
    rows = np.arange(sequences.starts[1], sequences.starts[2])
    measured = vectors_at(model.eval(), sequences, item_table, rows)
    items = torch.from_numpy(item_table.padded[sequences.item_rows[rows]])
    served = np.stack([vector.numpy() for vector in _served(model, items, starting[rows])])
    assert np.abs(served - measured).max() < 1e-5


def test_padded_batches_have_each_next_known_item_as_target():
    sequences, item_table = some_sequences()
    training = HierTCNTraining(users=3)
    task = PaddedTask(sequences, item_table, np.arange(3), training, SessionLearner(MODELS[0], training), longest=50)
    batch = task.draw(np.random.default_rng(0))
    assert batch.items.shape == batch.targets.shape == (3, 50)
    assert np.array_equal(batch.items[:, 1:], batch.targets[:, :-1])
    assert np.array_equal(batch.loss_mask, batch.targets >= 0)
    assert np.isfinite(task.sample_loss(np.random.default_rng(0)).item())
