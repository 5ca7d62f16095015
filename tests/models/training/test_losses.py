from math import exp, log

import pytest
import torch

from rankstream.models.training.losses import (
    bpr_loss,
    cross_entropy_loss,
    hinge_logsigmoid_loss,
    hinge_loss,
    hinge_sigmoid_loss,
    nce_loss,
    request_softmax_loss,
    sampled_softmax_loss,
)

POSITIVES = torch.tensor([2.0, 0.0])
NEGATIVES = torch.tensor([[1.0, -1.0], [0.5, -0.5]])


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def by_hand(pair):
    """Average a loss of (positive, negative) over the four pairs."""
    return (pair(2, 1) + pair(2, -1) + pair(0, 0.5) + pair(0, -0.5)) / 4


@pytest.mark.parametrize(
    ("loss", "wanted"),
    [
        (cross_entropy_loss, (log(1 + exp(-1) + exp(-3)) + log(1 + exp(0.5) + exp(-0.5))) / 2),
        (
            nce_loss,
            -(log(sigmoid(2)) + (log(sigmoid(-1)) + log(sigmoid(1))) / 2) / 2
            - (log(sigmoid(0)) + (log(sigmoid(-0.5)) + log(sigmoid(0.5))) / 2) / 2,
        ),
        (bpr_loss, by_hand(lambda p, n: -log(sigmoid(p - n)))),
        (hinge_loss, by_hand(lambda p, n: max(0, n - p + 0.1))),
        (hinge_sigmoid_loss, by_hand(lambda p, n: max(0, sigmoid(n) - sigmoid(p) + 0.1))),
        (hinge_logsigmoid_loss, by_hand(lambda p, n: max(0, log(sigmoid(n)) - log(sigmoid(p)) + 0.1))),
    ],
)
def test_next_item_losses_are_the_formulas(loss, wanted):
    assert loss(POSITIVES, NEGATIVES).item() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    "loss", [cross_entropy_loss, nce_loss, bpr_loss, hinge_loss, hinge_sigmoid_loss, hinge_logsigmoid_loss]
)
def test_a_masked_negative_counts_for_nothing(loss):
    masked = torch.cat([NEGATIVES, torch.full((2, 3), -torch.inf)], dim=1).requires_grad_()
    value = loss(POSITIVES, masked)
    value.backward()
    assert torch.allclose(value, loss(POSITIVES, NEGATIVES))
    assert torch.isfinite(masked.grad).all()
    assert (masked.grad[:, 2:] == 0).all()


def softmax_of(excluded, log_q_negatives, weights=(1.0, 1.0)):
    return sampled_softmax_loss(
        users=torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
        positives=torch.tensor([[0.6, 0.8], [0.6, 0.8]]),
        negatives=torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
        temperature=torch.tensor(0.5),
        log_q_positives=torch.tensor([-1.0, -1.0]),
        log_q_negatives=torch.tensor(log_q_negatives),
        excluded=torch.tensor(excluded),
        weights=torch.tensor(weights),
    ).item()


def test_sampled_softmax_is_the_formula():
    # scores over 0.5: the first user's 1.2 against 2 and 0, the second's 1.6 against 0 and 2; then less log Q
    first = log(exp(2.2) + exp(2 + 1) + exp(0 + 2)) - 2.2
    second = log(exp(2.6) + exp(0 + 1) + exp(2 + 2)) - 2.6
    nothing_excluded = [[False, False], [False, False]]
    assert softmax_of(nothing_excluded, [-1.0, -2.0]) == pytest.approx((first + second) / 2, abs=1e-6)
    weighted = softmax_of(nothing_excluded, [-1.0, -2.0], (3.0, 1.0))
    assert weighted == pytest.approx((3 * first + second) / 4, abs=1e-6)


def test_sampled_softmax_leaves_own_positives_out():
    first = log(exp(2.2) + exp(0 + 2)) - 2.2
    second = log(exp(2.6) + exp(0 + 1)) - 2.6
    assert softmax_of([[True, False], [False, True]], [-1.0, -2.0]) == pytest.approx((first + second) / 2, abs=1e-6)


def test_a_likelier_negative_counts_less():
    nothing_excluded = [[False, False], [False, False]]
    assert softmax_of(nothing_excluded, [0.0, 0.0]) < softmax_of(nothing_excluded, [-1.0, -1.0])


def test_the_softmax_of_a_request_counts_a_drawn_candidate_as_all_that_it_stands_for():
    logits = torch.tensor([[1.0, 5.0], [0.5, 0.0], [-1.0, 0.0], [2.0, 7.0], [0.0, -2.0]])
    labels = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    request_of = torch.tensor([0, 0, 0, 1, 1])
    log_q = torch.tensor([0.0, log(0.25), 0.0, 0.0, log(0.5)])
    first = log(exp(1.0) + 4 * exp(0.5) + exp(-1.0)) - 1.0  # head 0 of request 0
    second = log(exp(7.0) + 2 * exp(-2.0)) - 7.0  # head 1 of request 1
    loss = request_softmax_loss(logits, labels, request_of, 2, log_q)
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-5)


def test_the_softmax_of_requests_without_a_positive_is_nothing():
    logits = torch.zeros(2, 1, requires_grad=True)
    loss = request_softmax_loss(logits, torch.zeros(2, 1), torch.tensor([0, 0]), 1, torch.zeros(2))
    loss.backward()
    assert (loss.item(), logits.grad.tolist()) == (0.0, [[0.0], [0.0]])
