"""Served feeds as a log of slates: the items shown, their propensities, and a target policy's probabilities of them.

::

    ranked-feed with propensities, all candidates in it  ->  Slate: the first positions, logged and target probabilities
    user-actions                                         ->  rewards (n, K) of the item at each position

The target is computed from the feed itself here: another policy over its scores, or over another utility of the
heads' probabilities in it. So a feed must hold all of its candidates: for one that ``top_k`` or ``max_per_group`` cut,
it is not known what else the target could have shown. ``rerank.py`` ranks their candidates again.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from msgspec import UnsetType

from rankstream.evaluation.off_policy.source_parts import RankedCandidates, SourcePart, parts_of
from rankstream.features.ids import Keys, id_bytes, id_keys
from rankstream.metrics.arrays import Floats
from rankstream.ranking.policies import Limits, Policy
from rankstream.ranking.request import FeedItem
from rankstream.ranking.utility import utility
from rankstream.streams.codec import RankedFeed, ServedFeatures

ERROR = "an error, no feed"
NO_PROPENSITIES = "served without exploration, so no propensities"
CUT = "cut by top_k or max_per_group: the target's probabilities need the scores of all candidates"
NO_HEAD = "without a head that --utility names"
TWICE = "an answer that came twice"
NOT_A_CANDIDATE = "holding items that were no candidates of its request"
NO_SOURCES = "without the sources of its items"
NO_LIMITS = Limits()


class UnusableError(Exception):
    """A feed that can't be evaluated; the message is the reason to count it by."""


@dataclass(frozen=True)
class Target:
    """The policy to evaluate, over the feed's scores or over another utility of its heads' probabilities."""

    policy: Policy
    weights: Mapping[str, float] | None = None  # of heads; None: the scores as they were served

    @property
    def text(self) -> str:
        """Return it in words."""
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
    """The first positions of one feed, ``k`` of them."""

    user: bytes
    at_ms: int  # when it was ranked, UTC
    policy: str  # that served it
    items: Keys  # (k,)
    logged: Floats  # (k,) propensities, each given the items before
    target: Floats  # (k,) the same of the target
    predicted: Floats  # (k,) reward of the shown item, by the ranker's heads; right up to a factor, at best
    expected: Floats  # (k,) its mean over what the target would have shown after the same items
    by_source: Mapping[str, SourcePart] = field(default_factory=dict)  # of the sources that had candidates, if wanted

    @property
    def content(self) -> bytes:
        """Return what tells it from another feed of its user and time."""
        return self.items.tobytes() + self.logged.tobytes()


@dataclass(frozen=True)
class ScoredCandidates:
    """All candidates of one request as the target sees them."""

    keys: Keys  # (N,) in the order that decides between equal scores
    scores: Floats  # (N,)
    predicted_rewards: Floats  # (N,) by the ranker's heads
    limits: Limits = NO_LIMITS
    sources: Sequence[str] | None = None  # of each, where parts by source are wanted

    def rows(self, keys: Keys) -> list[int]:
        """Return the rows of candidates. Raises ``UnusableError`` if one is none."""
        ascending = np.argsort(self.keys)
        rows = ascending[np.minimum(np.searchsorted(self.keys, keys, sorter=ascending), len(ascending) - 1)]
        if (self.keys[rows] != keys).any():
            raise UnusableError(NOT_A_CANDIDATE)
        return [int(row) for row in rows]


def scored_candidates(items: Sequence[FeedItem], target: Target, rewards: Mapping[str, float]) -> ScoredCandidates:
    """Read candidates, in the order of their request, with their scores and heads.

    ``rewards`` is the reward of each action by name.
    """
    keys = id_keys([item.item_id for item in items])
    return ScoredCandidates(keys, target.scores(items), _predicted_rewards(items, rewards))


def slate(
    feed: RankedFeed | ServedFeatures, at_ms: int, candidates: ScoredCandidates, policy: Policy, positions: int
) -> Slate:
    """Set the first positions that were served against what ``policy`` does with the candidates."""
    items, logging_policy = _explored(feed)
    keys = id_keys([item.item_id for item in items])
    placed, scores, limits = candidates.rows(keys), candidates.scores, candidates.limits
    order = placed[:positions]
    prefixes = [order[:position] for position in range(len(order))]
    means = [policy.next_propensities(scores, prefix, limits) @ candidates.predicted_rewards for prefix in prefixes]
    by_source: Mapping[str, SourcePart] = {}
    if candidates.sources is not None:
        ranked = RankedCandidates(scores, candidates.predicted_rewards, limits, placed)
        by_source = parts_of(ranked, candidates.sources, policy, positions)
    return Slate(
        user=id_bytes(feed.user_id),
        at_ms=at_ms,
        policy=logging_policy,
        items=keys[:positions],
        logged=np.array([item.propensity for item in items[:positions]], np.float64),
        target=policy.propensities(scores, placed, limits)[:positions],  # of the whole order, as served: to the bit
        predicted=candidates.predicted_rewards[order],
        expected=np.array(means),
        by_source=by_source,
    )


def slate_of(
    feed: RankedFeed, target: Target, rewards: Mapping[str, float], positions: int, by_source: bool = False
) -> Slate:
    """Read one feed that holds all of its candidates. Raises ``UnusableError``.

    In which order the request named them is not known: equal scores are in the order of their keys, which what was
    served does not touch.
    """
    items, _ = _explored(feed)
    if feed.num_candidates != len(items):
        raise UnusableError(CUT)
    candidates = [items[row] for row in np.argsort(id_keys([item.item_id for item in items])).tolist()]
    scored = scored_candidates(candidates, target, rewards)
    if by_source:
        scored = replace(scored, sources=_sources(candidates))
    return slate(feed, feed.ranked_at_ms, scored, target.policy, positions)


def slates_of(
    feeds: Iterable[RankedFeed],
    target: Target,
    rewards: Mapping[str, float],
    positions: int,
    skipped: Counter[str],
    by_source: bool = False,
) -> list[Slate]:
    """Read feeds, each request once, and count by reason what can't be used; ``by_source`` those without sources."""
    slates = []
    seen: set[tuple[bytes, bytes]] = set()
    for feed in feeds:
        request = id_bytes(feed.user_id), id_bytes(feed.request_id)
        try:
            if request in seen:
                raise UnusableError(TWICE)
            slates.append(slate_of(feed, target, rewards, positions, by_source))
            seen.add(request)
        except UnusableError as why:
            skipped[str(why)] += 1
    return slates


def columns(rows: Sequence[Floats], positions: int, lacking: float) -> Floats:
    """Put rows of up to ``K`` positions under one another, ``(n, K)``, with ``lacking`` where a feed was shorter."""
    filled = np.full((len(rows), positions), lacking)
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


def _sources(items: Sequence[FeedItem]) -> list[str]:
    """Return what proposed each item. Raises ``UnusableError`` where that is not told."""
    sources = [item.source for item in items]
    if any(isinstance(source, UnsetType) for source in sources):
        raise UnusableError(NO_SOURCES)
    return [str(source) for source in sources]


def _predicted_rewards(items: Sequence[FeedItem], rewards: Mapping[str, float]) -> Floats:
    """Return ``(N,)`` rewards as predicted by the heads that are named like an action that counts."""
    heads = [head for head in rewards if head in items[0].probabilities]
    predicted = np.zeros(len(items))
    for head in heads:
        predicted += rewards[head] * np.array([item.probabilities.get(head, 0.0) for item in items])
    return predicted
