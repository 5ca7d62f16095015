import pytest
import torch

from rankstream.events.public.kuairand import HEADS
from rankstream.experiments.kuairand.baselines import RATES
from rankstream.experiments.kuairand.data import TEST_MS, TRAIN_MS, VALIDATE_MS, morning_of
from rankstream.experiments.kuairand.rows import rows
from rankstream.features.schema import FeatureSizes, random_inputs
from rankstream.models.ranker.export import export_ranker
from rankstream.models.ranker.hybrid import HybridRanker, RankerConfig, collate
from rankstream.models.ranker.transact import TransActConfig

SIZES = FeatureSizes(num_actions=6, item_dim=4, user_dim=3, session_dim=2, item_features=2)
TRANSACT = TransActConfig(num_types=3, item_dim=4, action_dim=4, ffn=8, dropout=0.0, recent_outputs=2)
ROWS = {row.name: row for row in rows(TRANSACT.recent_outputs, SIZES.num_actions)}


def a_batch(requests=24, seed=0, actions=None):
    inputs = [random_inputs(SIZES, actions or 1 + (seed + one) % 6, 2, 3, seed * 1000 + one) for one in range(requests)]
    return collate(inputs)


def encoded(encoder, batch):
    of = batch.request_of
    return encoder(batch.action_types[of], batch.action_items[of], batch.candidate_items)


@pytest.mark.parametrize("name", ROWS)
def test_an_encoder_returns_its_width_with_and_without_actions(name):
    encoder = ROWS[name].encoder(TRANSACT)
    assert encoded(encoder, a_batch()).shape == (48, encoder.width)
    no_actions = collate([random_inputs(SIZES, 0, 2, 3, 0)])
    assert encoded(encoder, no_actions).shape == (2, encoder.width)
    assert encoded(encoder, no_actions).isfinite().all()


@pytest.mark.parametrize("name", sorted(set(ROWS) - {"random_k", "random_column"}))
def test_padding_changes_nothing(name):
    encoder = ROWS[name].encoder(TRANSACT).eval()
    batch = a_batch(requests=1, actions=3)
    longer = torch.nn.functional.pad(batch.action_types, (0, 3))
    garbage = torch.cat([batch.action_items, torch.full((1, 3, 4), 9.0)], dim=1)
    of = batch.request_of
    one = encoded(encoder, batch)
    assert torch.allclose(one, encoder(longer[of], garbage[of], batch.candidate_items), atol=1e-6)


@pytest.mark.parametrize("name", sorted(set(ROWS) - {"no_realtime", "no_sequence", "no_types", "average_items",
                                              "transformer_items"}))  # fmt: skip
def test_an_encoder_learns_what_was_done_last(name):
    torch.manual_seed(0)
    row = ROWS[name]
    ranker = HybridRanker(RankerConfig(TRANSACT, SIZES, ("click",), crosses=1, cross_rank=4, mlp=(16,)), row.encoder)
    optimizer = torch.optim.Adam(ranker.parameters(), 0.03)
    for step in range(40):
        batch = row.see(a_batch(requests=20, seed=step, actions=2))
        label = (batch.action_types == 1).any(1).float()[batch.request_of]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(ranker(batch)[:, 0], label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.4


@pytest.mark.parametrize("name", ["no_realtime", "no_pinnerformer", "no_session"])
def test_a_row_does_not_see_what_it_is_without(name):
    torch.manual_seed(0)
    row = ROWS[name]
    ranker = HybridRanker(RankerConfig(TRANSACT, SIZES, ("click",), cross_rank=4, mlp=(8,)), row.encoder).eval()
    one = a_batch(seed=1)
    changed = {
        "no_realtime": {"action_types": one.action_types.clamp(max=1), "session_vectors": one.session_vectors + 1},
        "no_pinnerformer": {"user_vectors": one.user_vectors + 1},
        "no_session": {"session_vectors": one.session_vectors + 1},
    }[name]
    other = type(one)(**{**vars(one), **changed})
    assert torch.equal(ranker(row.see(one)), ranker(row.see(other)))
    assert not torch.equal(HybridRanker(ranker.config)(one), ranker(row.see(one)))


def test_only_a_ranker_of_transact_is_exported(tmp_path):
    ranker = HybridRanker(RankerConfig(TRANSACT, SIZES, ("click",)), ROWS["lstm"].encoder)
    with pytest.raises(ValueError, match="a ranker of Lstm can't be split; only one of TransAct is served"):
        export_ranker(ranker, tmp_path)


def test_days_are_beijings():
    assert morning_of(TRAIN_MS) == TRAIN_MS
    assert morning_of(TRAIN_MS - 1) == TRAIN_MS - 86_400_000
    assert morning_of(VALIDATE_MS + 5 * 3_600_000) == VALIDATE_MS
    assert TRAIN_MS < VALIDATE_MS < TEST_MS
    assert set(RATES) == set(HEADS)


def test_heads_that_start_from_the_rates_predict_the_rates_until_they_learn_more():
    sizes = FeatureSizes(num_actions=6, item_dim=4, user_dim=3, session_dim=2, item_features=len(RATES) + 3)
    ranker = ROWS["rated"].ranker(RankerConfig(TRANSACT, sizes, tuple(HEADS), crosses=1, cross_rank=4, mlp=(16,)))
    torch.nn.init.zeros_(ranker.output.weight)  # the hybrid predicts nothing
    torch.nn.init.zeros_(ranker.output.bias)
    batch = collate([random_inputs(sizes, 3, 5, 3, 0)])
    rates = batch.candidate_features[:, [RATES[head] for head in HEADS]]
    assert torch.equal(ranker(batch), rates)
    ranker(batch).sum().backward()
    assert torch.allclose(ranker.strength.grad, rates.sum(0))
