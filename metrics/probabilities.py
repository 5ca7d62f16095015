"""How good predicted probabilities are: AUC, log loss, calibration."""

import numpy as np

from rankstream.metrics.ranking import Bools, Floats

SMALLEST = 1e-7  # a probability is never taken for nearer to 0 or 1 than this


def auc(scores: Floats, labels: Bools, weights: Floats | None = None) -> float:
    """Return the chance that a positive scores above a negative, ties count half; NaN without one of each."""
    order = np.argsort(scores, kind="stable")
    return auc_in_order(scores[order], labels[order], np.ones(len(scores)) if weights is None else weights[order])


def auc_in_order(scores: Floats, labels: Bools, weights: Floats) -> float:
    """Return ``auc`` of rows that are sorted by score: what a bootstrap calls a thousand times."""
    _, first = np.unique(scores, return_index=True)
    if not len(first):
        return float("nan")
    above = np.add.reduceat(np.where(labels, weights, 0.0), first)
    below = np.add.reduceat(np.where(labels, 0.0, weights), first)
    positives, negatives = above.sum(), below.sum()
    if positives == 0 or negatives == 0:
        return float("nan")
    beaten = np.cumsum(below) - below / 2
    return float((above * beaten).sum() / (positives * negatives))


def log_loss(probabilities: Floats, labels: Bools) -> Floats:
    """Return each row's loss, natural logarithm."""
    sure = np.clip(probabilities, SMALLEST, 1 - SMALLEST)
    losses: Floats = -np.log(np.where(labels, sure, 1 - sure))
    return losses


def calibration(probabilities: Floats, labels: Bools, bins: int = 10) -> list[tuple[float, float, int]]:
    """Return mean probability, share of positives and rows of each bin; bins hold about equally many rows."""
    if not len(probabilities):
        return []
    parts = np.array_split(np.argsort(probabilities, kind="stable"), min(bins, len(probabilities)))
    return [(float(probabilities[part].mean()), float(labels[part].mean()), len(part)) for part in parts if len(part)]


def calibration_error(probabilities: Floats, labels: Bools, bins: int = 10) -> float:
    """Return the mean distance between what was promised and what came, over rows (ECE, bins of equal size)."""
    rows = max(1, len(probabilities))
    return sum(abs(said - came) * count for said, came, count in calibration(probabilities, labels, bins)) / rows
