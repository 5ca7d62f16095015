"""Both encoders learn what can be learned, and find nothing where there is nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rankstream.features.embeddings.memory import ItemTable
from rankstream.models.sessions.hiertcn import HierTCNConfig
from rankstream.models.sessions.hiertcn_training import HierTCNTraining, train_hiertcn
from rankstream.models.training.loop import FitConfig
from rankstream.models.training.losses import bpr_loss, hinge_logsigmoid_loss, nce_loss
from rankstream.models.training.precision import Precision
from rankstream.models.users.pinnerformer import PinnerFormerConfig
from rankstream.models.users.pinnerformer_training import PinnerFormerTraining, train_pinnerformer
from tests.builders.models import MINUTE_MS, a_markov_log

ITEMS = 200
FAST = FitConfig(steps=150, learning_rate=5e-3, warm_up=10, evaluate_every=50)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_vectors() -> ItemTable:
    """Vectors that know nothing of the world: all that is found, the models learned."""
    vectors = np.random.default_rng(1).standard_normal((ITEMS, 16)).astype(np.float32)
    return ItemTable(np.arange(ITEMS), vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def session_recall(p_next: float, training: HierTCNTraining, learn_items: bool = False) -> float:
    """Return recall@10 of the next item for users never trained on; random is 0.05."""
    log = a_markov_log(300, ITEMS, 16, p_next)
    config = HierTCNConfig(item_dim=16, hidden=32, layer_state=16, channels=(32, 32))
    return train_hiertcn(log, random_vectors(), config, training, learn_items=learn_items).history.best_metric


def test_hiertcn_learns_a_predictable_world():
    assert session_recall(0.9, HierTCNTraining(fit=FAST, exclude_seen=False)) > 0.6


@pytest.mark.parametrize("learn_items", [False, True])
def test_hiertcn_finds_nothing_in_noise(learn_items):
    assert session_recall(0.0, HierTCNTraining(fit=FAST, exclude_seen=False), learn_items) < 0.1


def test_items_that_learn_keep_their_length_and_find_more():
    brief = replace(FAST, steps=60, evaluate_every=60)
    log, sizes = a_markov_log(300, ITEMS, 16, 0.9), HierTCNConfig(16, hidden=32, layer_state=16, channels=(32, 32))
    training = HierTCNTraining(fit=brief, exclude_seen=False)
    fixed, learned = (train_hiertcn(log, random_vectors(), sizes, training, learn_items=one) for one in (False, True))
    assert learned.history.best_metric > fixed.history.best_metric + 0.05
    assert np.allclose(np.linalg.norm(learned.item_table.vectors, axis=1), 1, atol=1e-5)
    assert np.array_equal(fixed.item_table.vectors, random_vectors().vectors)


def test_hiertcn_learns_from_a_pool_that_a_batch_shares_and_finds_nothing_in_noise():
    training = HierTCNTraining(fit=FAST, pool=64, exclude_seen=False)
    assert session_recall(0.9, training) > 0.6
    assert session_recall(0.0, training) < 0.1


def test_by_epochs_hiertcn_stops_by_itself_and_says_after_how_many():
    fit = replace(FAST, epochs=100, patience=2, evaluate_every=20)
    log = a_markov_log(60, ITEMS, 16, 0.0)  # nothing to learn: it stalls
    sizes = HierTCNConfig(item_dim=16, hidden=8, layer_state=8, channels=(8,))
    history = train_hiertcn(log, random_vectors(), sizes, HierTCNTraining(fit=fit, exclude_seen=False)).history
    assert history.stopped == "patience"
    assert history.examples_seen == pytest.approx(history.epochs * 54 * 16, rel=0.01)  # 54 of 60 users are trained on


@pytest.mark.parametrize("loss", [nce_loss, bpr_loss, hinge_logsigmoid_loss])
def test_hiertcn_learns_with_every_loss_from_sampled_negatives(loss):
    training = HierTCNTraining(fit=FAST, loss=loss, negatives=20, exclude_seen=False)
    assert session_recall(0.9, training) > 0.3


def test_all_encoders_train_in_half_precision_too():
    """What a GPU does by default; the softmax over all items takes its gradient itself."""
    fit = replace(FAST, steps=3, evaluate_every=3, precision=Precision.BF16)
    log = a_markov_log(40, ITEMS, 16, 0.9)
    sizes = HierTCNConfig(item_dim=16, hidden=32, layer_state=16, channels=(32, 32))
    for learn_items in (False, True):
        trained = train_hiertcn(log, random_vectors(), sizes, HierTCNTraining(fit=fit), learn_items=learn_items)
        assert np.isfinite(trained.history.losses[-1][1])
    config = PinnerFormerConfig(action_types=3, item_dim=16, user_dim=16, hidden=32, layers=1, heads=2)
    history = train_pinnerformer(log, random_vectors(), ["save"], config, PinnerFormerTraining(fit=fit))[1]
    assert np.isfinite(history.losses[-1][1])


def user_recall(p_next: float, steps: int) -> float:
    """Return recall@10 of the positives of the next five minutes for users never trained on; random is 0.05."""
    log = a_markov_log(300, ITEMS, 16, p_next)
    config = PinnerFormerConfig(action_types=3, item_dim=16, user_dim=16, hidden=32, layers=1, heads=2, dropout=0.0)
    training = PinnerFormerTraining(
        fit=replace(FAST, steps=steps), horizon_ms=5 * MINUTE_MS, validate_horizon_ms=5 * MINUTE_MS, exclude_seen=False
    )
    return train_pinnerformer(log, random_vectors(), ["save"], config, training)[1].best_metric


def test_pinnerformer_learns_a_predictable_world():
    assert user_recall(0.95, steps=300) > 0.5


def test_pinnerformer_finds_nothing_in_noise():
    assert user_recall(0.0, steps=150) < 0.12  # by when it finds 0.39 of what can be predicted
