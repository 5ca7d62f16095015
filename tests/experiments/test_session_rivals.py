import numpy as np
import pytest
import torch

from rankstream.events.sequences import timelines_of
from rankstream.experiments.music.next_items import hrnn_vectors_at
from rankstream.experiments.music.padded_histories import PaddedTask, flat_vectors_at
from rankstream.experiments.music.session_costs import _served
from rankstream.experiments.music.session_rivals import HRNN, FlatGRU, FlatGRUConfig, FlatTCN, FlatTCNConfig, HRNNConfig
from rankstream.models.sessions.hiertcn import HierTCN, HierTCNConfig
from rankstream.models.sessions.hiertcn_training import HierTCNTraining, SessionLearner
from rankstream.models.sessions.sessionize import session_vectors_at
from tests.builders.models import a_catalogue, a_markov_log, a_random_log

MODELS = [
    FlatGRU(FlatGRUConfig(8, 12)),
    FlatTCN(FlatTCNConfig(8, (12, 12))),
    HRNN(HRNNConfig(8, 10)),
    HierTCN(HierTCNConfig(item_dim=8, hidden=12, layer_state=10, channels=(12, 12, 12))),
]


def some_timelines():
    catalogue = a_catalogue()
    return timelines_of(a_random_log(3, 30, 60), catalogue), catalogue


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
    catalogue = a_catalogue()
    timelines = timelines_of(a_markov_log(3, 30, 40, 0.5), catalogue)
    starting = np.zeros(len(timelines), np.bool_)
    starting[timelines.session_starts()] = True
    vectors_at = {FlatGRU: flat_vectors_at, FlatTCN: flat_vectors_at, HRNN: hrnn_vectors_at}.get(
        type(model), session_vectors_at
    )
    rows = np.arange(timelines.starts[1], timelines.starts[2])
    measured = vectors_at(model.eval(), timelines, catalogue, rows)
    items = torch.from_numpy(catalogue.padded[timelines.item_rows[rows]])
    served = np.stack([vector.numpy() for vector in _served(model, items, starting[rows])])
    assert np.abs(served - measured).max() < 1e-5


def test_padded_batches_ask_for_each_next_known_item():
    timelines, catalogue = some_timelines()
    training = HierTCNTraining(users=3)
    task = PaddedTask(timelines, catalogue, np.arange(3), training, SessionLearner(MODELS[0], training), longest=50)
    batch = task.draw(np.random.default_rng(0))
    assert batch.items.shape == batch.targets.shape == (3, 50)
    assert np.array_equal(batch.items[:, 1:], batch.targets[:, :-1])
    assert np.array_equal(batch.asked, batch.targets >= 0)
    assert np.isfinite(task.draw_loss(np.random.default_rng(0)).item())
