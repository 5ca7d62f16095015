"""Calibration: a head's number is made the probability that it is called, on requests later than those trained on.

Only where the log holds impressions, acted on or not: there it is known how often an action follows when an item is
shown. Among negatives that were sampled, a head orders candidates, but its number depends on how many were sampled and
how, so it stays a score. An intercept for the sampling rate (King & Zeng 2001) would not make it one: the negatives are
drawn by what matches and by popularity, so the correction is each item's own and would reorder the candidates, and
nothing in such a log says how often an item is acted on if it is shown.

::

    held-out requests, in time    | first half: fit a, b |  second half: measured, before and after  |
    a head's probability          sigmoid(a * logit + b), a > 0

That is Platt scaling (Platt 1999, "Probabilistic Outputs for Support Vector Machines"), a head at a time. It keeps the
order of a head, but not of the utility, a sum over heads. Being affine, it is folded into the ranker's last layer: what
is exported, verified and served is one ranker as before.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from rankstream.features.schema import Ints
from rankstream.metrics.arrays import Bools, Floats
from rankstream.metrics.probabilities import calibration_error, log_loss
from rankstream.models.ranker.hybrid import HybridRanker
from rankstream.models.ranker.joined import JoinedRequests

MIN_EACH = 20  # positives, and negatives, in each half: of fewer no rate can be told
MIN_SLOPE = 0.05  # a head that orders the wrong way round is flattened, never turned
REQUESTS_AT_ONCE = 32
RESAMPLES = 200


@dataclass(frozen=True)
class Quality:
    """How a head's numbers agree with what came, on the measured half."""

    predicted_rate: float
    log_loss: float
    calibration_error: float  # ECE, 10 bins of about equally many rows
    low: float  # its 95 % interval: basic bootstrap over users
    high: float


@dataclass(frozen=True)
class HeadCalibration:
    """What was done to one head, and what came of it."""

    slope: float
    intercept: float
    fitted_rows: int
    fitted_positives: int
    rows: int
    positives: int
    observed_rate: float
    before: Quality
    after: Quality


@dataclass(frozen=True)
class HeldOut:
    """Candidates of held-out requests as the ranker sees them, oldest first."""

    logits: Floats  # (N, heads)
    labels: Bools  # (N, heads)
    users: Ints  # (N,) from 0
    requests: Ints  # (N,) from 0


def calibrate(ranker: HybridRanker, requests: JoinedRequests, seed: int = 0) -> dict[str, HeadCalibration]:
    """Calibrate in place, on requests in order of time that were not trained on; return the heads that were.

    A head with fewer than ``MIN_EACH`` positives or negatives in either half stays as it is.
    """
    found: dict[str, HeadCalibration] = {}
    if not len(requests):
        return found
    rows = held_out(ranker, requests)
    first = rows.requests < (rows.requests[-1] + 1) // 2
    for column, head in enumerate(ranker.config.heads):
        logits, labels = rows.logits[:, column], rows.labels[:, column]
        if min(np.count_nonzero(labels[half] == kind) for half in (first, ~first) for kind in (True, False)) < MIN_EACH:
            continue
        slope, intercept = platt_scaling(logits[first], labels[first])
        logits, labels, users = logits[~first], labels[~first], rows.users[~first]
        found[head] = HeadCalibration(
            slope=slope,
            intercept=intercept,
            fitted_rows=int(np.count_nonzero(first)),
            fitted_positives=int(np.count_nonzero(rows.labels[first, column])),
            rows=len(labels),
            positives=int(np.count_nonzero(labels)),
            observed_rate=float(labels.mean()),
            before=quality(sigmoid(logits), labels, users, seed),
            after=quality(sigmoid(slope * logits + intercept), labels, users, seed),
        )
    fold(ranker, found)
    return found


@torch.no_grad()
def held_out(ranker: HybridRanker, requests: JoinedRequests) -> HeldOut:
    """Score requests as serving does: with all known actions, none masked."""
    ranker.eval()
    device, logits = ranker.output.weight.device, []
    for start in range(0, len(requests), REQUESTS_AT_ONCE):
        batch = requests.batch(np.arange(start, min(start + REQUESTS_AT_ONCE, len(requests))))
        logits.append(ranker(batch.to(device)).double().cpu().numpy())
    counts = [len(one.candidates) for one in requests.requests]
    users = np.unique([one.user_key for one in requests.requests], return_inverse=True)[1]
    return HeldOut(
        np.concatenate(logits),
        np.concatenate([one.labels for one in requests.requests]) > 0,
        np.repeat(users, counts),
        np.repeat(np.arange(len(requests)), counts),
    )


def platt_scaling(logits: Floats, labels: Bools) -> tuple[float, float]:
    """Return slope and intercept of ``(N,)`` logits that make the labels most likely; the slope is positive.

    Newton's method with step halving on the targets of Platt 1999, which are a little inside of 0 and 1, so that also
    separable labels have a finite solution (Lin, Lin & Weng 2007, "A Note on Platt's Probabilistic Outputs").
    """
    positives = np.count_nonzero(labels)
    negatives = len(labels) - positives
    targets = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    scaling = _newton(np.stack([logits, np.ones(len(logits))], axis=1), targets, np.array([1.0, 0.0]))
    if scaling[0] >= MIN_SLOPE:
        return float(scaling[0]), float(scaling[1])
    (intercept,) = _newton(np.ones((len(logits), 1)), targets, np.zeros(1), MIN_SLOPE * logits)
    return MIN_SLOPE, float(intercept)


def _newton(columns: Floats, targets: Floats, start: Floats, offset: Floats | float = 0.0) -> Floats:
    """Return the coefficients ``(C,)`` of a logistic regression of ``columns`` (N, C)."""

    def loss(coefficients: Floats) -> float:
        z = columns @ coefficients + offset
        return float((np.logaddexp(0.0, z) - targets * z).sum())

    found, reached = start, loss(start)
    for _ in range(100):
        probabilities = sigmoid(columns @ found + offset)
        gradient = columns.T @ (probabilities - targets)
        curvature = (columns * (probabilities * (1 - probabilities))[:, None]).T @ columns
        step = np.linalg.solve(curvature + 1e-9 * np.eye(len(found)), gradient)
        size = 1.0
        while (after := loss(found - size * step)) > reached and size > 1e-9:
            size /= 2
        if after > reached or reached - after < 1e-10 * (1 + abs(reached)):
            break
        found, reached = found - size * step, after
    return found


def quality(probabilities: Floats, labels: Bools, users: Ints, seed: int) -> Quality:
    """Return how ``(N,)`` probabilities agree with the labels; ECE's interval resamples users."""
    error = calibration_error(probabilities, labels)
    rng, different = np.random.default_rng(seed), np.unique(users)
    rows_of = np.split(np.argsort(users, kind="stable"), np.cumsum(np.unique(users, return_counts=True)[1])[:-1])
    errors = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([rows_of[user] for user in rng.integers(0, len(different), len(different)).tolist()])
        errors.append(calibration_error(probabilities[rows], labels[rows]))
    low, high = np.quantile(errors, [0.025, 0.975])
    return Quality(
        predicted_rate=float(probabilities.mean()),
        log_loss=float(log_loss(probabilities, labels).mean()),
        calibration_error=error,
        low=max(0.0, float(2 * error - high)),
        high=max(0.0, float(2 * error - low)),
    )


@torch.no_grad()
def fold(ranker: HybridRanker, found: Mapping[str, HeadCalibration]) -> None:
    """Put the scaling of each calibrated head into the last layer."""
    for row, head in enumerate(ranker.config.heads):
        if head in found:
            ranker.output.weight[row] *= found[head].slope
            ranker.output.bias[row] = ranker.output.bias[row] * found[head].slope + found[head].intercept


def sigmoid(logits: Floats) -> Floats:
    """Return probabilities of logits."""
    probabilities: Floats = np.exp(-np.logaddexp(0.0, -logits))
    return probabilities


def as_plain(found: Mapping[str, HeadCalibration]) -> dict[str, Any]:
    """Return plain values by head, for the manifest's metrics."""
    return {head: asdict(one) for head, one in found.items()}
