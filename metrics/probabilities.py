"""How good predicted probabilities are: AUC, log loss, calibration.

``labels`` say which rows were positive. AUC measures their order alone, log loss and calibration their values too.
"""

import numpy as np

from rankstream.metrics.arrays import Bools, Floats

SMALLEST = 1e-7  # no probability counts as nearer to 0 or 1 than this


def auc(scores: Floats, labels: Bools, weights: Floats | None = None) -> float:
    """Return how often a positive scores above a negative, ties counting half; NaN without one of each."""
    order = np.argsort(scores, kind="stable")
    return auc_in_order(scores[order], labels[order], np.ones(len(scores)) if weights is None else weights[order])


def auc_in_order(scores: Floats, labels: Bools, weights: Floats) -> float:
    """Return ``auc`` of rows that are sorted by score: a bootstrap sorts once and asks hundreds of times."""
    _, first = np.unique(scores, return_index=True)
    if not len(first):
        return float("nan")
    positive = np.add.reduceat(np.where(labels, weights, 0.0), first)  # weight at each distinct score
    negative = np.add.reduceat(np.where(labels, 0.0, weights), first)
    positives, negatives = positive.sum(), negative.sum()
    if positives == 0 or negatives == 0:
        return float("nan")
    beaten = np.cumsum(negative) - negative / 2
    return float((positive * beaten).sum() / (positives * negatives))


def log_loss(probabilities: Floats, labels: Bools) -> Floats:
    """Return each row's loss, natural logarithm."""
    clipped = np.clip(probabilities, SMALLEST, 1 - SMALLEST)
    losses: Floats = -np.log(np.where(labels, clipped, 1 - clipped))
    return losses


def calibration(probabilities: Floats, labels: Bools, bins: int = 10) -> list[tuple[float, float, int]]:
    """Return mean probability, share of positives and rows of each bin; bins hold about equally many rows."""
    if not len(probabilities):
        return []
    parts = np.array_split(np.argsort(probabilities, kind="stable"), min(bins, len(probabilities)))
    return [(float(probabilities[part].mean()), float(labels[part].mean()), len(part)) for part in parts if len(part)]


def calibration_error(probabilities: Floats, labels: Bools, bins: int = 10) -> float:
    """Return the expected calibration error (ECE): the bins' |probability - share of positives|, weighted by rows."""
    rows = max(1, len(probabilities))
    curve = calibration(probabilities, labels, bins)
    return sum(abs(predicted - observed) * count for predicted, observed, count in curve) / rows
