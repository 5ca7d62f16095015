"""Served feeds as a log of slates: what was placed, how likely that was, and how likely a target would have done it.

::

    ranked-feed with propensities, all candidates in it  ->  Slate: the first places, logged and target probabilities
    user-actions                                         ->  rewards (n, K): what the item at each place earned

The target is computed from the feed itself here: another policy over its scores, or over another utility of the
heads' probabilities that it tells. So a feed must hold all of its candidates: of one that ``top_k`` or
``max_per_group`` cut nobody knows what else the target could have placed. ``ranked_again.py`` ranks them again.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from msgspec import UnsetType

from rankstream.evaluation.off_policy.estimators import Floats
from rankstream.events.arrivals import Arrivals
from rankstream.features.ids import Keys, id_bytes, id_keys
from rankstream.ranking.exploration import Limits, Policy
from rankstream.ranking.request import FeedItem
from rankstream.ranking.utility import utility
from rankstream.streams.codec import RankedFeed, ServedFeatures

ERROR = "an error, no feed"
NO_PROPENSITIES = "served without exploration, so no propensities"
CUT = "cut by top_k or max_per_group: the target's probabilities need the scores of all candidates"
NO_HEAD = "without a head that --utility names"
TWICE = "an answer that came twice"
STRANGER = "holding items that were no candidates of its request"
NO_LIMITS = Limits()


class UnusableError(Exception):
    """A feed that can't be judged; the message is the reason to count it by."""


@dataclass(frozen=True)
class Target:
    """What is to be judged: a policy, over the feed's scores or over another utility of its heads' probabilities."""

    policy: Policy
    weights: Mapping[str, float] | None = None  # of heads; None: the scores as they were served

    @property
    def text(self) -> str:
        """Say it in words."""
        policy = self.policy.text or "greedy"
        if self.weights is None:
            return f"{policy} by the scores as served"
        return f"{policy} by " + " ".join(f"{weight:+g} {head}" for head, weight in self.weights.items())

    def scores(self, items: Sequence[FeedItem]) -> Floats:
        """Return ``(N,)`` scores. Raises ``UnusableError``."""
        if self.weights is None:
            return np.array([item.score for item in items])
        try:
            rows = np.array([[item.probabilities[head] for head in self.weights] for item in items], np.float32)
        except KeyError:
            raise UnusableError(NO_HEAD) from None
        return utility(rows, tuple(self.weights.values()))


@dataclass(frozen=True)
class Slate:
    """The first places of one feed, ``k`` of them."""

    user: bytes
    at_ms: int  # when it was ranked, UTC
    policy: str  # that served it
    items: Keys  # (k,)
    logged: Floats  # (k,) propensities, each given the items before
    target: Floats  # (k,) the same of the target
    predicted: Floats  # (k,) reward of the placed item, as the ranker's heads see it: right but for a factor, at best
    expected: Floats  # (k,) its mean over what the target would have placed after the same items


@dataclass(frozen=True)
class Ranked:
    """All candidates of one request as the target sees them."""

    keys: Keys  # (N,) ascending: an order that the log's own does not touch, which decides between equal scores
    scores: Floats  # (N,)
    beliefs: Floats  # (N,) expected rewards, by the ranker's heads
    limits: Limits = NO_LIMITS

    def rows(self, keys: Keys) -> list[int]:
        """Return the rows of candidates. Raises ``UnusableError`` if one is none."""
        rows = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        if (self.keys[rows] != keys).any():
            raise UnusableError(STRANGER)
        return [int(row) for row in rows]


def ranked(items: Sequence[FeedItem], target: Target, worth: Mapping[str, float]) -> Ranked:
    """Read candidates with their scores and heads; ``worth`` is the reward of each action by name."""
    keys = id_keys([item.item_id for item in items])
    order = np.argsort(keys)
    return Ranked(keys[order], target.scores(items)[order], _beliefs(items, worth)[order])


def slate(feed: RankedFeed | ServedFeatures, at_ms: int, all_of_it: Ranked, policy: Policy, places: int) -> Slate:
    """Set the first places that were served against what ``policy`` does with the candidates."""
    items, told = _explored(feed)
    placed = id_keys([item.item_id for item in items[:places]])
    order, scores, limits = all_of_it.rows(placed), all_of_it.scores, all_of_it.limits
    means = [policy.next_propensities(scores, order[:place], limits) @ all_of_it.beliefs for place in range(len(order))]
    return Slate(
        user=id_bytes(feed.user_id),
        at_ms=at_ms,
        policy=told,
        items=placed,
        logged=np.array([item.propensity for item in items[:places]], np.float64),
        target=policy.propensities(scores, order, limits),
        predicted=all_of_it.beliefs[order],
        expected=np.array(means),
    )


def slate_of(feed: RankedFeed, target: Target, worth: Mapping[str, float], places: int) -> Slate:
    """Read one feed that holds all of its candidates. Raises ``UnusableError``."""
    items, _ = _explored(feed)
    if feed.num_candidates != len(items):
        raise UnusableError(CUT)
    return slate(feed, feed.ranked_at_ms, ranked(items, target, worth), target.policy, places)


def slates_of(
    feeds: Iterable[RankedFeed], target: Target, worth: Mapping[str, float], places: int, skipped: Counter[str]
) -> list[Slate]:
    """Read feeds, each request once, and count by reason what can't be used."""
    slates = []
    seen: set[tuple[bytes, bytes]] = set()
    for feed in feeds:
        request = id_bytes(feed.user_id), id_bytes(feed.request_id)
        try:
            if request in seen:
                raise UnusableError(TWICE)
            slates.append(slate_of(feed, target, worth, places))
            seen.add(request)
        except UnusableError as why:
            skipped[str(why)] += 1
    return slates


def rewards_of(
    slates: Sequence[Slate], actions: Iterable[Arrivals], worth: Mapping[int, float], places: int, within_ms: int
) -> Floats:
    """Return ``(n, K)``: for each place the sum of ``worth`` over the kinds (codes) of actions on the item there.

    An action counts for the newest feed that showed the item to its user before it, if that was at most
    ``within_ms`` earlier; the same kind again on the same place counts once.
    """
    rewards = np.zeros((len(slates), places))
    shown: dict[tuple[bytes, int], list[tuple[int, int, int]]] = {}  # time, slate, place; in the order of time
    for row in sorted(range(len(slates)), key=lambda row: slates[row].at_ms):
        for place, item in enumerate(slates[row].items.tolist()):
            shown.setdefault((slates[row].user, item), []).append((slates[row].at_ms, row, place))
    counted: set[tuple[int, int, int]] = set()
    codes = np.array(list(worth), np.int64)
    for batch in actions:
        for at in np.flatnonzero(np.isin(batch.codes, codes)).tolist():
            times = shown.get((batch.user_keys[at], int(batch.item_keys[at])))
            if times is None:
                continue
            at_ms, code = int(batch.times_ms[at]), int(batch.codes[at])
            newest = bisect_right(times, at_ms, key=lambda one: one[0]) - 1
            if newest < 0 or at_ms - times[newest][0] > within_ms:
                continue
            _, row, place = times[newest]
            if (row, place, code) not in counted:
                counted.add((row, place, code))
                rewards[row, place] += worth[code]
    return rewards


def columns(rows: Sequence[Floats], places: int, lacking: float) -> Floats:
    """Put rows of up to ``K`` places under one another, ``(n, K)``, with ``lacking`` where a feed was shorter."""
    filled = np.full((len(rows), places), lacking)
    for at, row in enumerate(rows):
        filled[at, : len(row)] = row
    return filled


def _explored(feed: RankedFeed | ServedFeatures) -> tuple[list[FeedItem], str]:
    """Return items and policy of what was served with exploration."""
    items = feed.items
    if isinstance(items, UnsetType) or not items:
        raise UnusableError(ERROR)
    if isinstance(feed.policy, UnsetType) or any(isinstance(item.propensity, UnsetType) for item in items):
        raise UnusableError(NO_PROPENSITIES)
    return items, feed.policy


def _beliefs(items: Sequence[FeedItem], worth: Mapping[str, float]) -> Floats:
    """Return ``(N,)`` expected rewards by the heads that are named like an action that counts."""
    heads = [head for head in worth if head in items[0].probabilities]
    beliefs = np.zeros(len(items))
    for head in heads:
        beliefs += worth[head] * np.array([item.probabilities.get(head, 0.0) for item in items])
    return beliefs
