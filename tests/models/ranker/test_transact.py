"""TransAct: what it sees, what it must not see, and that it learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from rankstream.models.layers import PostNormLayer, is_kept
from rankstream.models.ranker.hybrid import collate
from rankstream.models.ranker.transact import TransAct, TransActConfig, draw_hidden_ms, hide_recent
from tests.builders.ranker import NUM_TYPES, a_config, a_ranker, some_inputs

SMALL = TransActConfig(NUM_TYPES, item_dim=4, action_dim=8, ffn=8, recent_outputs=3, dropout=0.0)


def histories(*types: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Types (B, T) padded with 0, and random items that are zeros where padded."""
    length = max(map(len, types))
    padded = torch.tensor([row + [0] * (length - len(row)) for row in types])
    items = torch.randn(len(types), length, 4, generator=torch.Generator().manual_seed(1))
    return padded, items * (padded > 0)[:, :, None]


def candidates(count: int) -> torch.Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("heads", [1, 2])
def test_the_encoder_layer_is_torchs_post_norm_layer(heads):
    ours = PostNormLayer(12, heads, 7, dropout=0.0)
    theirs = nn.TransformerEncoderLayer(12, heads, 7, dropout=0.0, batch_first=True, norm_first=False)
    pairs = {
        "self_attn.in_proj_weight": ours.project.weight, "self_attn.in_proj_bias": ours.project.bias,
        "self_attn.out_proj.weight": ours.output.weight, "self_attn.out_proj.bias": ours.output.bias,
        "linear1.weight": ours.expand.weight, "linear1.bias": ours.expand.bias,
        "linear2.weight": ours.contract.weight, "linear2.bias": ours.contract.bias,
        "norm1.weight": ours.norm_attention.weight, "norm1.bias": ours.norm_attention.bias,
        "norm2.weight": ours.norm_ffn.weight, "norm2.bias": ours.norm_ffn.bias,
    }  # fmt: skip
    theirs.load_state_dict(pairs)
    rows, keep = torch.randn(2, 6, 12), torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    theirs_rows = theirs.train()(rows, src_key_padding_mask=~keep)  # train: eval takes a road with zeros in padding
    torch.testing.assert_close(ours(rows, keep)[keep], theirs_rows[keep])


def test_output_is_the_first_k_rows_and_the_pool():
    transact = TransAct(SMALL)
    types, items = histories([1, 2, 3, 1], [2])
    assert transact(types, items, candidates(2)).shape == (2, SMALL.output) == (2, 4 * 16)


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (2, 2)])
def test_candidates_of_requests_are_encoded_as_each_beside_its_own_copy_of_the_history(layers, heads):
    transact = TransAct(replace(SMALL, layers=layers, heads=heads)).double()
    types, items = histories([1, 2, 3, 1], [2], [0])
    request_of, some = torch.tensor([0, 2, 0, 1, 0]), candidates(5).double()
    plain = transact(types[request_of], items.double()[request_of], some)
    plain_grads = torch.autograd.grad(plain.square().sum(), list(transact.parameters()))
    together = transact.of_requests(types, items.double(), some, request_of)
    grads = torch.autograd.grad(together.square().sum(), list(transact.parameters()))
    torch.testing.assert_close(together, plain)
    torch.testing.assert_close(grads, plain_grads)


def test_a_short_history_leaves_the_missing_rows_zero():
    types, items = histories([1, 2, 3, 1], [2])
    output = TransAct(SMALL)(types, items, candidates(2))
    assert output[0, : 3 * 16].ne(0).all()
    assert output[1, 16 : 3 * 16].eq(0).all()


def test_garbage_in_padded_rows_changes_nothing():
    transact = TransAct(SMALL)
    types, items = histories([1, 2, 3, 1, 2], [2, 1])
    garbage = torch.where((types > 0)[:, :, None], items, torch.tensor(1e6))
    assert torch.equal(transact(types, garbage, candidates(2)), transact(types, items, candidates(2)))


def test_more_padding_changes_nothing():
    transact = TransAct(SMALL)
    types, items = histories([1, 2], [3])
    longer = nn.functional.pad(types, (0, 5)), nn.functional.pad(items, (0, 0, 0, 5))
    torch.testing.assert_close(transact(*longer, candidates(2)), transact(types, items, candidates(2)))


def test_a_user_without_actions_is_one_row_of_padding_that_counts():
    types = torch.tensor([[0, 0], [1, 0]])
    assert is_kept(types).tolist() == [[True, False], [True, False]]
    output = TransAct(SMALL)(types, torch.zeros(2, 2, 4), candidates(2))
    assert output.isfinite().all()
    assert output[0, :16].ne(0).any()


def test_every_action_type_counts_and_padding_is_no_type():
    transact = TransAct(SMALL)
    rows = transact.actions.weight
    assert rows.shape[0] == NUM_TYPES + 1
    assert rows[0].eq(0).all()
    types, items = histories([1], [2], [3], [4])
    same = items[:1].expand(4, -1, -1)
    outputs = transact(types, same, candidates(1).expand(4, -1))
    assert len(outputs.unique(dim=0)) == 4


def test_the_order_of_older_actions_reaches_the_first_rows_only_by_position():
    transact = TransAct(SMALL)
    types, items = histories([1, 2, 3, 4, 1])
    shuffled = torch.tensor([0, 1, 2, 4, 3])  # behind the first K: a set, for there is no positional encoding
    swapped = transact(types[:, shuffled], items[:, shuffled], candidates(1))
    torch.testing.assert_close(swapped, transact(types, items, candidates(1)))


def test_training_and_serving_agree_without_dropout():
    transact = TransAct(replace(SMALL, heads=2))
    types, items = histories([1, 2, 3, 1, 2], [2, 1])
    trained = transact.train()(types, items, candidates(2))
    torch.testing.assert_close(transact.eval()(types, items, candidates(2)), trained)


def test_dropout_is_off_when_serving():
    transact = TransAct(replace(SMALL, dropout=0.5))
    types, items = histories([1, 2, 3])
    one, other = (transact.eval()(types, items, candidates(1)) for _ in range(2))
    assert torch.equal(one, other)
    one, other = (transact.train()(types, items, candidates(1)) for _ in range(2))
    assert not torch.equal(one, other)


def test_hiding_the_last_while_moves_older_actions_to_the_front():
    types, items = histories([3, 1, 2, 2], [4, 1])
    ages = torch.tensor([[1, 5, 9, 20], [2, 3, 0, 0]])
    seen, seen_items, seen_ages = hide_recent(types, items, ages, torch.tensor([6, 6]))
    assert seen.tolist() == [[2, 2, 0, 0], [0, 0, 0, 0]]
    assert torch.equal(seen_items[0, :2], items[0, 2:])
    assert seen_items[0, 2:].eq(0).all()
    assert seen_items[1].eq(0).all()
    assert seen_ages.tolist() == [[9, 20, 0, 0], [0, 0, 0, 0]]


def test_hiding_nothing_changes_nothing():
    types, items = histories([3, 1, 2, 2], [4, 1])
    ages = torch.tensor([[0, 5, 9, 20], [0, 3, 0, 0]])
    for given, got in zip((types, items, ages), hide_recent(types, items, ages, torch.zeros(2)), strict=True):
        assert torch.equal(given, got)


def test_what_is_hidden_is_what_an_earlier_time_would_not_have_seen():
    ranker = a_ranker()
    inputs = some_inputs(actions=6, candidates=3)
    hidden_ms = int(inputs.action_ages_ms[2])
    later = replace(
        inputs,
        action_types=inputs.action_types[2:],
        action_items=inputs.action_items[2:],
        action_ages_ms=inputs.action_ages_ms[2:],
    )
    batch = collate([inputs])
    parts = hide_recent(batch.action_types, batch.action_items, batch.action_ages_ms, torch.tensor([hidden_ms]))
    masked = replace(batch, action_types=parts[0], action_items=parts[1], action_ages_ms=parts[2])
    torch.testing.assert_close(ranker(masked), ranker(collate([later])))


def test_hidden_times_fill_the_window_and_repeat_with_the_seed():
    first, again = (draw_hidden_ms(2000, 1000, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.min() >= 0
    assert first.max() <= 1000
    assert abs(first.double().mean() - 500) < 25


def test_the_generator_alone_decides_what_is_hidden():
    batch = collate([some_inputs(actions=9, seed=seed) for seed in range(4)])
    masked = [batch.hide_recent(86_400_000, torch.Generator().manual_seed(5)) for _ in range(2)]
    torch.manual_seed(99)
    masked.append(batch.hide_recent(86_400_000, torch.Generator().manual_seed(5)))
    assert all(torch.equal(masked[0].action_types, one.action_types) for one in masked)
    assert not torch.equal(masked[0].action_types, batch.action_types)


def learned_accuracy(predictable: bool) -> float:
    """Train a ranker to predict whether the candidate is the newest action's item; return its accuracy on new pairs.

    ``predictable`` is whether the labels show that, or are sampled at random.
    """
    rng = np.random.default_rng(0)
    items = np.eye(4, dtype=np.float32)

    def pairs(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        types = torch.from_numpy(rng.integers(1, NUM_TYPES + 1, (count, 5)))
        acted, others = rng.integers(0, 4, (count, 5)), rng.integers(0, 4, count)
        candidates = np.where(rng.random(count) < 0.5, acted[:, 0], others)
        truth = (acted[:, 0] == candidates) if predictable else rng.random(count) < 0.5
        return types, torch.from_numpy(items[acted]), torch.from_numpy(items[candidates]), torch.from_numpy(truth)

    torch.manual_seed(0)
    transact = TransAct(SMALL)
    output = nn.Linear(SMALL.output, 1)
    optimizer = torch.optim.Adam([*transact.parameters(), *output.parameters()], 5e-3)
    for _ in range(150):
        types, acted, candidate, truth = pairs(128)
        logits = output(transact(types, acted, candidate))[:, 0]
        loss = nn.functional.binary_cross_entropy_with_logits(logits, truth.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    types, acted, candidate, truth = pairs(2000)
    logits = output(transact(types, acted, candidate))[:, 0]
    return float(((logits > 0) == truth).float().mean())


def test_it_learns_whether_the_candidate_was_just_acted_on():
    assert learned_accuracy(predictable=True) > 0.95


def test_it_learns_nothing_from_noise():
    assert learned_accuracy(predictable=False) < 0.55


def test_attention_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="16 can't be split into 3 heads"):
        a_ranker(a_config(heads=3))
