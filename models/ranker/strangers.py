"""What users of whom no action is known are shown: the ranker's logit and counts, weighed by what was chosen later.

A ranker learns a poorer popularity than a count is: of a request without actions nearly all that it sees of an item is
how often it was acted on. So where it serves, the logits of such requests are a line of the network's and of the
popularity columns, which stand among its inputs anyway::

    held-out choices, in time, each asked as by a stranger, all items of a day scored once
      logit of an item = slope * the network's + w . popularity (of all times, a day, seven days);  slope, w >= 0
      of the choice: log softmax among all items that its user had not taken, where none is taken twice

That is a conditional logit (McFadden 1974) of four numbers, whose likelihood is concave; one in all heads. The network
alone, each count alone and all between are in it. It is served where it is better than the network alone on choices of
users that it was not fitted to, by more than a standard error (Breiman et al. 1984): both ends of the line are sound,
and a wrong choice near either costs little.

What is chosen first of all may be unlike what is chosen later (films of a sign-up page), and of that few are held out.
So users who have no vector either, who are new, are served it only where it is better, by as much, on the first choices
of users that the ranker learned from, where the network is at its best; or where the log has hardly any. The intercept
keeps the choices' mean logit what it was, which the order does not see. Only an order is learned so: heads that are
probabilities (``calibration.py``) stay as they are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np

from rankstream.features.schema import Ints
from rankstream.metrics.arrays import Bools, Floats
from rankstream.models.items.item_features import RECENT_DAYS
from rankstream.models.ranker.hybrid import StrangerLogits

MIN_USERS, MIN_CHOICES = 20, 100  # of fewer nothing is told
STEPS = 50  # of Newton's method; it takes about ten
SMALLEST = 1e-300  # of a sum that rounding may leave empty
RIDGE = 1e-6  # of the curvature's trace: a column that is the same for all items says nothing


@dataclass(frozen=True)
class Choice:
    """What was acted on, once."""

    item: int  # row
    heads: Bools  # (heads,) which it makes true
    user: int
    seen: Ints  # rows of items that were no alternatives


@dataclass(frozen=True)
class AskedDay:
    """All items as a stranger would have been shown them on a day, and what was chosen then."""

    logits: Floats  # (items, heads) of the network
    popularity: Floats  # (items, columns)
    choices: Sequence[Choice]


@dataclass(frozen=True)
class StrangersFit:
    """What came of it."""

    line: StrangerLogits | None  # None: the network's logits stay
    choices: int
    users: int
    gain: float = 0.0  # of log likelihood a choice, by a fit to the other half of the users
    low: float = 0.0  # 95 %, by user
    high: float = 0.0
    first_choices: int = 0  # of new users
    first_gain: float = 0.0  # the same of these, less the network's with its own slope

    def in_words(self) -> str:
        """Return in a line what users without actions are shown, and why."""
        about = f"{self.choices:,} held-out choices of {self.users:,} users"
        if not self.high:
            return f"Users without actions: the network's logits, as {about} are too few to weigh them against counts"
        gain = f"{self.gain:+.3f} [{self.low:.3f}, {self.high:.3f}] of log likelihood on {about}"
        if self.line is None:
            return f"Users without actions: the network's logits; with counts beside them {gain}"
        names = "of all times", *(f"of {days} d" for days in RECENT_DAYS)
        weights = ", ".join(f"{weight:.2f} {name}" for name, weight in zip(names, self.line.popularity, strict=False))
        new = "new users too" if self.line.new_users else "new users: the network's logits"
        if self.first_gain:
            new += f", {self.first_gain:+.3f} on {self.first_choices:,} first choices"
        line = f"the network's logits times {self.line.slope:.2f}, popularity {weights}; {gain}"
        return f"Users without actions: {line}; {new}"


class _Likelihood(NamedTuple):
    value: float
    gradient: Floats  # (P,)
    curvature: Floats  # (P, P)


def fit_strangers(
    days: Sequence[AskedDay], weights: Sequence[float], seed: int = 0, firsts: Iterable[AskedDay] = ()
) -> StrangersFit:
    """Fit the line to the choices of users and hold it against the network alone; ``weights`` are the heads'.

    ``firsts`` are first choices of users, of any time; they are asked for only where there is a line to serve.
    """
    positive = np.maximum(np.asarray(weights, np.float64), 0.0)
    users = np.unique([one.user for day in days for one in day.choices])
    count = sum(len(day.choices) for day in days)
    if len(users) < MIN_USERS or count < MIN_CHOICES:
        return StrangersFit(None, count, len(users))
    half = np.random.default_rng(seed).permutation(users)[: len(users) // 2]
    asked, gained = [], []
    for fitted_to_half in (True, False):
        parameters = _fitted(_of_users(days, half, fitted_to_half), positive)
        alone = _network_alone(len(parameters))
        for day in _of_users(days, half, not fitted_to_half):
            asked.append(day)
            gained.append(_log_likelihoods(day, positive, parameters) - _log_likelihoods(day, positive, alone))
    mean, error = _mean_by_user(asked, gained)
    low, high = mean - 1.96 * error, mean + 1.96 * error
    if mean <= error:
        return StrangersFit(None, count, len(users), mean, low, high)
    parameters = _fitted(days, positive)
    first_gain, first_error, first_choices = _gain_of_new(list(firsts), positive, parameters)
    slope, *popularity = parameters.tolist()
    intercept = _intercept(days, positive, slope, popularity)
    line = StrangerLogits(slope, intercept, tuple(popularity), new_users=first_gain > first_error or not first_error)
    return StrangersFit(line, count, len(users), mean, low, high, first_choices, first_gain)


def _mean_by_user(days: Sequence[AskedDay], gains: Sequence[Floats]) -> tuple[float, float]:
    """Return the mean of the gains of all choices, and its standard error by user."""
    users, user_of = np.unique([one.user for day in days for one in day.choices], return_inverse=True)
    by_user = np.bincount(user_of, np.concatenate(gains), len(users))
    return float(by_user.sum()) / len(user_of), sqrt(len(users)) * float(by_user.std(ddof=1)) / len(user_of)


def _gain_of_new(firsts: Sequence[AskedDay], weights: Floats, parameters: Floats) -> tuple[float, float, int]:
    """Return what first choices gain by the parameters, its standard error by user, and how many there are.

    Of few users both are 0. The network is held against them at the slope that suits it here best: how sure it is, the
    order does not see.
    """
    count = sum(len(day.choices) for day in firsts)
    if len({one.user for day in firsts for one in day.choices}) < MIN_USERS:
        return 0.0, 0.0, count
    alone = [AskedDay(day.logits, day.popularity[:, :0], day.choices) for day in firsts]
    slope = _fitted(alone, weights)
    gained = [
        _log_likelihoods(day, weights, parameters) - _log_likelihoods(bare, weights, slope)
        for day, bare in zip(firsts, alone, strict=True)
    ]
    return *_mean_by_user(firsts, gained), count


def _of_users(days: Sequence[AskedDay], users: Ints, inside: bool) -> list[AskedDay]:
    known = set(users.tolist())
    return [
        AskedDay(day.logits, day.popularity, [one for one in day.choices if (one.user in known) == inside])
        for day in days
    ]


def _network_alone(count: int) -> Floats:
    """Return so many parameters that leave the network's logits as they are."""
    alone: Floats = np.eye(1, count)[0]
    return alone


def _fitted(days: Sequence[AskedDay], weights: Floats) -> Floats:
    """Return slope and weights of the columns, (P,), none below 0, by Newton's method with step halving."""
    found = _network_alone(1 + days[0].popularity.shape[1])
    reached = _likelihood(days, weights, found)
    for _ in range(STEPS):
        free = np.flatnonzero((found > 0) | (reached.gradient > 0))
        curvature = reached.curvature[np.ix_(free, free)]
        step = np.zeros(len(found))
        ridge = RIDGE * max(1.0, np.trace(reached.curvature)) * np.eye(len(free))
        step[free] = np.linalg.solve(curvature + ridge, reached.gradient[free])
        size = 1.0
        moved, after = found, reached
        while size > 1e-6:
            moved = np.maximum(found + size * step, 0.0)
            after = _likelihood(days, weights, moved)
            if after.value >= reached.value:
                break
            size /= 2
        gained = after.value - reached.value
        if gained < 0:
            break
        found, reached = moved, after
        if gained < 1e-6 * abs(reached.value):
            break
    return found


def _likelihood(days: Sequence[AskedDay], weights: Floats, parameters: Floats) -> _Likelihood:
    """Return the log likelihood of all choices, each head's weighing as in the score, with its derivatives."""
    value, gradient, curvature = 0.0, np.zeros(len(parameters)), np.zeros((len(parameters), len(parameters)))
    for day in days:
        for head in np.flatnonzero(weights).tolist():
            columns = _columns(day, head)
            scores = columns @ parameters
            exponents = np.exp(scores - scores.max())
            first = exponents[:, None] * columns
            whole = exponents.sum(), first.sum(axis=0), first.T @ columns
            for one in day.choices:
                if not one.heads[head]:
                    continue
                total, sums, squares = whole
                if len(one.seen):
                    total = total - exponents[one.seen].sum()
                    sums = sums - first[one.seen].sum(axis=0)
                    squares = squares - first[one.seen].T @ columns[one.seen]
                total = max(total, exponents[one.item], SMALLEST)
                mean = sums / total
                value += weights[head] * (scores[one.item] - scores.max() - np.log(total))
                gradient += weights[head] * (columns[one.item] - mean)
                curvature += weights[head] * (squares / total - np.outer(mean, mean))
    return _Likelihood(float(value), gradient, curvature)


def _log_likelihoods(day: AskedDay, weights: Floats, parameters: Floats) -> Floats:
    """Return that of each choice, ``(choices,)``."""
    found = np.zeros(len(day.choices))
    for head in np.flatnonzero(weights).tolist():
        scores = _columns(day, head) @ parameters
        exponents = np.exp(scores - scores.max())
        for at, one in enumerate(day.choices):
            if one.heads[head]:
                total = max(exponents.sum() - exponents[one.seen].sum(), exponents[one.item], SMALLEST)
                found[at] += weights[head] * (scores[one.item] - scores.max() - np.log(total))
    return found


def _columns(day: AskedDay, head: int) -> Floats:
    """Return what the parameters weigh, ``(items, P)``."""
    return np.concatenate([day.logits[:, head : head + 1], day.popularity], axis=1, dtype=np.float64)


def _intercept(days: Sequence[AskedDay], weights: Floats, slope: float, popularity: Sequence[float]) -> float:
    """Return what leaves the mean logit of the choices as it was."""
    heads, moves = np.flatnonzero(weights), []
    for day in days:
        for one in day.choices:
            mine = heads[one.heads[heads]]
            if len(mine):
                now = slope * day.logits[one.item, mine].mean() + day.popularity[one.item] @ np.asarray(popularity)
                moves.append(float(day.logits[one.item, mine].mean() - now))
    return float(np.mean(moves))
