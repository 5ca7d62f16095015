"""Losses as plain functions of tensors, the paper cited in each."""

import torch
from torch import Tensor
from torch.nn import functional as F

# --- Ranker (TransAct, KDD'23, section 3.2) ---------------------------------------------------------------------


def weighted_multi_head_loss(logits: Tensor, labels: Tensor, label_weights: Tensor, weights: Tensor) -> Tensor:
    """Give the mean weighted cross entropy over candidates (equations 1 and 2).

    ``L = w_u * sum_h -w_h [y_h log f_h + (1 - y_h) log(1 - f_h)]`` with ``w_h = sum_a M[h, a] y_a``: what the user did
    decides how much each head's answer matters, so that one hide can weigh more on the click head than a click.

    ``logits`` and ``labels`` are (B, H), ``weights`` w_u (B,), ``label_weights`` M (H, 1 + H). M's first column is for
    a candidate without any action, y = 0 throughout, which the paper's sum would give no weight; the others are for
    the heads' actions, in order. Divided by the sum of w_u, so that the learning rate knows nothing of the batch size.
    """
    nothing = 1.0 - labels.amax(1, keepdim=True)  # (B, 1)
    head_weights = torch.cat([nothing, labels], dim=1) @ label_weights.T  # (B, H): w_h
    losses = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")  # (B, H)
    return (weights * (head_weights * losses).sum(1)).sum() / weights.sum()
