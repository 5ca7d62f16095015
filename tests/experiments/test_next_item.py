from dataclasses import replace

import numpy as np
import pytest
import torch

from rankstream.experiments.movielens.next_item import NextItemConfig, NextItemModel, NextItemTask, ranks
from rankstream.models.training.losses import all_items_loss, all_items_loss_in_parts, among

CONFIG = NextItemConfig(items=12, num_actions=6, hidden=8, layers=1, heads=2, dropout=0.0)


@pytest.fixture
def one_thread():
    """Small models on two threads mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def a_model() -> NextItemModel:
    torch.manual_seed(0)
    return NextItemModel(CONFIG).eval()


def some_sequences(count=20, longest=15):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 12, rng.integers(4, longest)) for _ in range(count)]


@pytest.mark.parametrize("part", [1, 7, 64])
def test_the_loss_in_parts_is_the_plain_one_and_so_are_its_gradients(part):
    contexts, items = torch.randn(30, 8, requires_grad=True), torch.randn(12, 8, requires_grad=True)
    targets = torch.randint(0, 12, (30,))
    plain, parts = (
        all_items_loss(contexts, items, targets),
        all_items_loss_in_parts(contexts, items, targets, part=part),
    )
    assert torch.allclose(plain, parts)
    for one, other in zip(
        torch.autograd.grad(3 * plain, [contexts, items]),
        torch.autograd.grad(3 * parts, [contexts, items]),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("part", [1, 7, 64])
def test_in_parts_the_repeat_weight_has_the_plain_gradient_too(part):
    contexts, items = torch.randn(30, 8, requires_grad=True), torch.randn(12, 8, requires_grad=True)
    targets, seen = torch.randint(0, 12, (30,)), torch.randint(0, 13, (30, 9))  # 12: none; some twice
    repeat = torch.tensor(-0.7, requires_grad=True)
    plain = all_items_loss(contexts, items, targets, seen, repeat)
    parts = all_items_loss_in_parts(contexts, items, targets, seen, repeat, part=part)
    assert torch.allclose(plain, parts)
    of = [contexts, items, repeat]
    for one, other in zip(torch.autograd.grad(3 * plain, of), torch.autograd.grad(3 * parts, of), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_an_item_that_came_twice_counts_once_and_padding_is_no_item():
    assert among(torch.tensor([[0, 2, 2, 3]]), 3).tolist() == [[1.0, 0.0, 1.0]]


def test_positions_know_what_came_up_to_them_and_nothing_later():
    """The loss of a window is the mean of its prefixes' losses, each with what it has seen."""
    torch.manual_seed(0)
    model = NextItemModel(replace(CONFIG, repeats=True)).eval()
    with torch.no_grad():
        model.repeat.fill_(-0.5)
    items = torch.tensor([[3, 1, 3, 5, 1, 7]])
    whole = model.loss(items, torch.ones(1, 5, dtype=torch.bool))
    prefixes = []
    for end in range(1, 6):
        loss_mask = torch.zeros(1, end, dtype=torch.bool)
        loss_mask[0, -1] = True
        prefixes.append(model.loss(items[:, : end + 1], loss_mask))
    assert torch.allclose(whole, torch.stack(prefixes).mean())


@pytest.mark.parametrize(("sequences", "sign"), [("never twice", -1), ("always twice", 1)])
def test_the_repeat_weight_learns_whether_things_come_again(sequences, sign, one_thread):
    rng = np.random.default_rng(0)
    sampled = [rng.permutation(12)[:8] for _ in range(60)]
    if sequences == "always twice":
        sampled = [np.concatenate([row[:4], rng.permutation(row[:4])]) for row in sampled]
    torch.manual_seed(0)
    model = NextItemModel(replace(CONFIG, num_actions=8, repeats=True))
    task = NextItemTask(sampled, model, positions=200)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for step in range(40):
        optimizer.zero_grad()
        task.sample_loss(np.random.default_rng(step)).backward()
        optimizer.step()
    assert sign * model.repeat_weight.item() > 0.5


def test_later_items_and_padding_change_nothing_before_them():
    items = torch.randint(0, 12, (2, 6))
    changed = items.clone()
    changed[:, 4:] = 12
    assert torch.equal(a_model()(items)[:, :4], a_model()(changed)[:, :4])


def test_a_batch_holds_windows_of_its_sequences_in_order():
    sequences = some_sequences()
    task = NextItemTask(sequences, a_model(), positions=30)
    items, lengths = task.draw(np.random.default_rng(0))
    texts = ["".join(chr(97 + item) for item in sequence) for sequence in sequences]
    for row, length in zip(items, lengths, strict=True):
        window = "".join(chr(97 + item) for item in row[: length + 1])
        assert any(window in text for text in texts)
        assert (row[length + 1 :] == 12).all()
    assert lengths.max() <= 6


def test_ranks_are_counted_among_all_items_and_never_see_the_target():
    model, sequences = a_model(), some_sequences()
    ranked = ranks(model, sequences, batch=7)
    for sequence, rank in zip(sequences, ranked, strict=True):
        seen = torch.from_numpy(sequence[:-1][-6:])[None]
        scores = model.scores(model(seen)[:, -1], seen)[0]
        assert rank == 1 + (scores > scores[sequence[-1]]).sum().item()
    excluded = ranks(model, sequences, exclude_seen=True)
    assert (excluded <= ranked).all()


def test_the_encoder_learns_a_ring(one_thread):
    sequences = [(np.arange(20) + start) % 12 for start in range(12)]
    torch.manual_seed(0)
    model = NextItemModel(CONFIG)
    task = NextItemTask(sequences, model, positions=200)
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    for step in range(30):
        optimizer.zero_grad()
        task.sample_loss(np.random.default_rng(step)).backward()
        optimizer.step()
    assert ranks(model, sequences).mean() < 1.1
