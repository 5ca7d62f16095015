"""Losses as plain functions of tensors, the paper cited in each."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def no_loss(model: nn.Module) -> Tensor:
    """Return a loss of 0, with a gradient of 0 for every parameter: of a batch that holds nothing to learn from."""
    return torch.stack([parameter.sum() for parameter in model.parameters() if parameter.requires_grad]).sum() * 0.0


# --- Ranker (TransAct, KDD'23, section 3.2) ---------------------------------------------------------------------


def weighted_multi_head_loss(logits: Tensor, labels: Tensor, label_weights: Tensor, weights: Tensor) -> Tensor:
    """Return the mean weighted cross entropy over candidates (equations 1 and 2).

    ``L = w_u * sum_h -w_h [y_h log f_h + (1 - y_h) log(1 - f_h)]`` with ``w_h = sum_a M[h, a] y_a``: what the user did
    decides how much each head's error matters, so that one hide can weigh more on the click head than a click.

    ``logits`` and ``labels`` are (B, H), ``weights`` w_u (B,), ``label_weights`` M (H, 1 + H). M's first column is for
    a candidate without any action, y = 0 throughout, to which the paper's sum gives no weight; the others are for the
    heads' actions, in order. Divided by the sum of w_u, so that the learning rate does not depend on the batch size.
    """
    nothing = 1.0 - labels.amax(1, keepdim=True)  # (B, 1)
    head_weights = torch.cat([nothing, labels], dim=1) @ label_weights.T  # (B, H): w_h
    losses = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")  # (B, H)
    return (weights * (head_weights * losses).sum(1)).sum() / weights.sum()


def request_softmax_loss(logits: Tensor, labels: Tensor, request_of: Tensor, requests: int, log_q: Tensor) -> Tensor:
    """Return the mean cross entropy of each positive among its request's candidates, over all heads.

    ``-log [ e^s / sum_j e^(s_j - log Q_j) ]``: a candidate that was drawn one time in five stands for five, so the sum
    is that of the whole catalogue. ``logits`` and ``labels`` are (B, H), ``request_of`` (B,), ``log_q`` (B,), 0 for
    positives. The softmax of a feed's order; ``weighted_multi_head_loss`` is about each candidate alone.
    """
    positives = labels.sum()
    if not positives:
        return logits.sum() * 0.0
    corrected = logits - log_q[:, None]
    index = request_of[:, None].expand_as(corrected)
    highest = corrected.new_full((requests, logits.shape[1]), -torch.inf)
    highest = highest.scatter_reduce(0, index, corrected.detach(), "amax")
    summed = corrected.new_zeros(requests, logits.shape[1])
    summed = summed.scatter_add(0, index, torch.exp(corrected - highest[request_of]))
    losses = highest[request_of] + torch.log(summed[request_of]) - logits
    return (labels * losses).sum() / positives


# --- User vectors (PinnerFormer, KDD'22, section 3.3) -----------------------------------------------------------


def sampled_softmax_loss(
    users: Tensor,
    positives: Tensor,
    negatives: Tensor,
    temperature: Tensor,
    log_q_positives: Tensor,
    log_q_negatives: Tensor,
    excluded: Tensor,
    weights: Tensor,
) -> Tensor:
    """Return the mean sampled softmax with log-Q correction.

    ``-log [ e^(s(u, p) - log Q(p)) / (e^(s(u, p) - log Q(p)) + sum_j e^(s(u, n_j) - log Q(n_j))) ]`` with
    ``s(u, v) = <u, v> / temperature``. Without the correction an item that is often a negative because it is popular
    would be pushed away for that alone.

    P pairs of ``users`` and ``positives`` (P, U) share one pool of M ``negatives`` (M, U); ``log_q_*`` are (P,) and
    (M,), ``excluded`` (P, M) is true where a negative is one of the user's own positives. ``weights`` (P,) let each
    user count the same, however many pairs it has.
    """
    positive = (users * positives).sum(-1) / temperature - log_q_positives  # (P,)
    negative = users @ negatives.T / temperature - log_q_negatives  # (P, M)
    negative = negative.masked_fill(excluded, -torch.inf)
    losses = torch.logsumexp(torch.cat([positive.unsqueeze(1), negative], dim=1), dim=1) - positive
    return (weights * losses).sum() / weights.sum()


# --- The next item of a session (HierTCN, WWW'19; the official code's loss.py) ----------------------------------
#
# All take scores of P next items ``positives (P,)`` and of K negatives each ``negatives (P, K)``; a negative of minus
# infinity is masked. All are a NextItemLoss, so one can be passed for another.

NextItemLoss = Callable[[Tensor, Tensor], Tensor]
HINGE_MARGIN = 0.1  # of the official code's final runs


def cross_entropy_loss(positives: Tensor, negatives: Tensor) -> Tensor:
    """Return the mean softmax cross entropy; the full one when the negatives are all the other items."""
    scores = torch.cat([positives.unsqueeze(1), negatives], dim=1)  # (P, 1 + K)
    return (torch.logsumexp(scores, dim=1) - positives).mean()


def nce_loss(positives: Tensor, negatives: Tensor) -> Tensor:
    """Return ``-log s(p) - mean_k log s(-n_k)``: next item or noise, each a binary decision."""
    kept = torch.isfinite(negatives)
    noise = torch.where(kept, F.logsigmoid(-negatives.masked_fill(~kept, 0.0)), 0.0)
    return (-F.logsigmoid(positives) - noise.sum(1) / kept.sum(1).clamp(min=1)).mean()


def bpr_loss(positives: Tensor, negatives: Tensor) -> Tensor:
    """Return ``-log s(p - n)``, the pairwise loss as published (Rendle et al., UAI'09).

    The official code has ``-log s(s(p) - s(n))``, a sigmoid inside a sigmoid, which cannot fall below 0.31.
    """
    return _mean_over_kept(-F.logsigmoid(positives.unsqueeze(1) - negatives), negatives)


def hinge_loss(positives: Tensor, negatives: Tensor, margin: float = HINGE_MARGIN) -> Tensor:
    """Return ``max(0, n - p + margin)`` (``hinge_linear``)."""
    return _mean_over_kept(F.relu(negatives - positives.unsqueeze(1) + margin), negatives)


def hinge_sigmoid_loss(positives: Tensor, negatives: Tensor, margin: float = HINGE_MARGIN) -> Tensor:
    """Return the hinge of probabilities, ``max(0, s(n) - s(p) + margin)``."""
    return hinge_loss(torch.sigmoid(positives), _through(torch.sigmoid, negatives), margin)


def hinge_logsigmoid_loss(positives: Tensor, negatives: Tensor, margin: float = HINGE_MARGIN) -> Tensor:
    """Return the hinge of log probabilities: the loss of the official code's final Pinterest runs."""
    return hinge_loss(F.logsigmoid(positives), _through(F.logsigmoid, negatives), margin)


def _through(function: Callable[[Tensor], Tensor], negatives: Tensor) -> Tensor:
    """Apply a function to the negatives that are not masked; the others stay minus infinity."""
    kept = torch.isfinite(negatives)
    return torch.where(kept, function(negatives.masked_fill(~kept, 0.0)), -torch.inf)


def _mean_over_kept(losses: Tensor, negatives: Tensor) -> Tensor:
    """Average over pairs whose negative is not masked."""
    kept = torch.isfinite(negatives)
    return torch.where(kept, losses, 0.0).sum() / kept.sum().clamp(min=1)


# --- The next item among all (SASRec's and BERT4Rec's setting, with the full softmax) -----------------------------


def all_items_loss(
    contexts: Tensor, items: Tensor, targets: Tensor, seen: Tensor | None = None, repeat: Tensor | None = None
) -> Tensor:
    """Return the mean softmax cross entropy of ``targets (P,)`` among all items: the plain one.

    ``contexts`` are (P, H), ``items`` (items, H); the score is the dot product. ``repeat ()`` is added to the scores of
    the items that each context has ``seen (P, S)``, rows of ``items``, padded with ``len(items)``.
    """
    scores = contexts @ items.T
    if seen is not None and repeat is not None:
        scores = scores + repeat * among(seen, len(items))
    return F.cross_entropy(scores, targets)


def among(seen: Tensor, count: int) -> Tensor:
    """Return 1 for each of ``count`` items that is in the row of ``seen (P, S)``, else 0; ``count`` is padding."""
    present = seen.new_zeros((len(seen), count + 1), dtype=torch.float32)
    return present.scatter_(1, seen, 1.0)[:, :count]


def all_items_loss_in_parts(
    contexts: Tensor,
    items: Tensor,
    targets: Tensor,
    seen: Tensor | None = None,
    repeat: Tensor | None = None,
    *,
    part: int = 1024,
) -> Tensor:
    """Return ``all_items_loss`` without ever holding (P, items) scores: twice as fast on a CPU, whose cache it fits.

    In float32, whatever the model's precision: it computes its own gradient, and sums over all items.
    """
    with torch.autocast(contexts.device.type, enabled=False):
        loss: Tensor = _AllItemsLoss.apply(contexts.float(), items.float(), targets, seen, repeat, part)
    return loss


class _AllItemsLoss(torch.autograd.Function):
    """Computes the gradient together with the loss, some rows at a time, so that backward only scales it."""

    @staticmethod
    def forward(
        ctx: Any,
        contexts: Tensor,
        items: Tensor,
        targets: Tensor,
        seen: Tensor | None,
        repeat: Tensor | None,
        part: int,
    ) -> Tensor:
        count = len(contexts)
        learned = ctx.needs_input_grad[1]  # fixed item vectors need no gradient
        contexts_grad, items_grad = torch.empty_like(contexts), torch.zeros_like(items)
        loss, repeat_grad = contexts.new_zeros(()), contexts.new_zeros(())
        for at in range(0, count, part):
            rows, of_rows = contexts[at : at + part], targets[at : at + part].unsqueeze(1)
            scores = rows @ items.T  # (part, items)
            present = None if seen is None else among(seen[at : at + part], len(items))
            if present is not None and repeat is not None:
                scores.addcmul_(present, repeat)
            of_targets, highest = scores.gather(1, of_rows), scores.amax(1, keepdim=True)
            shares = scores.sub_(highest).exp_()
            total = shares.sum(1, keepdim=True)
            loss += (total.log() + highest - of_targets).sum()
            slopes = shares.div_(total * count)  # softmax, less 1 at the target: the scores' gradient
            slopes.scatter_add_(1, of_rows, slopes.new_full(of_rows.shape, -1.0 / count))
            torch.mm(slopes, items, out=contexts_grad[at : at + part])
            if learned:
                items_grad.addmm_(slopes.T, rows)
            if present is not None:
                repeat_grad += (slopes * present).sum()
        ctx.save_for_backward(contexts_grad, items_grad, None if repeat is None else repeat_grad)
        return loss / count

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        of_contexts, of_items, of_repeat = (None if grad is None else upstream[0] * grad for grad in ctx.saved_tensors)
        return of_contexts, of_items, None, None, of_repeat, None
