"""A slate by the sources of its candidates: each one's part in it, and the same feed without that source.

::

    shown            1 a (matches)    2 b (popular)    3 c (matches)
    part of matches  reward of a      0                reward of c        the parts sum to the feed's
    without matches  P(a) = 0: such a feed never begins with a; b and what else is not of matches is ranked alone
    without popular  P(a), then 0: it goes on with c, or what the target puts second of the rest

Without a source, the same target orders what the others proposed, and no more: what retrieval would have proposed in
the places that became free is in no log.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankstream.metrics.arrays import Bools, Floats
from rankstream.ranking.policies import Limits, Policy
from rankstream.retrieval.source import kind_of


@dataclass(frozen=True)
class SourcePart:
    """One source in the first positions of one feed, ``k`` of them."""

    shown: Bools  # (k,) whether it proposed the item that was shown
    expected: Floats  # (k,) its part of ``Slate.expected``
    target_without: Floats  # (k,) ``Slate.target`` of a feed without it
    expected_without: Floats  # (k,) ``Slate.expected`` of a feed without it


@dataclass(frozen=True)
class RankedCandidates:
    """All candidates ``(N,)`` of a feed as the target sees them, and which of them were placed."""

    scores: Floats
    predicted: Floats  # rewards, by the ranker's heads
    limits: Limits
    placed: Sequence[int]  # rows, in the order of the feed

    def kept(self, which: Bools) -> "RankedCandidates":
        """Return those candidates alone, with what was placed before the first other one."""
        row_of = np.cumsum(which) - 1
        others = [at for at, row in enumerate(self.placed) if not which[row]]
        before = self.placed[: others[0]] if others else self.placed
        groups = self.limits.groups
        limits = Limits(
            None if groups is None else [group for group, is_kept in zip(groups, which, strict=True) if is_kept],
            self.limits.max_per_group,
        )
        return RankedCandidates(self.scores[which], self.predicted[which], limits, [int(row_of[row]) for row in before])


def parts_of(ranked: RankedCandidates, sources: Sequence[str], policy: Policy, positions: int) -> dict[str, SourcePart]:
    """Return the part of each source in the first ``positions``; ``sources`` are those of all candidates."""
    kinds = np.array([kind_of(source) for source in sources])
    order = np.asarray(ranked.placed[:positions], np.intp)
    next_one = [
        policy.next_propensities(ranked.scores, ranked.placed[:at], ranked.limits) * ranked.predicted
        for at in range(len(order))
    ]
    parts = {}
    for name in dict.fromkeys(kinds.tolist()):
        is_its = kinds == name
        target, expected = _alone(ranked.kept(~is_its), policy, len(order))
        its_own = np.array([predicted[is_its].sum() for predicted in next_one])
        parts[name] = SourcePart(is_its[order], its_own, target, expected)
    return parts


def _alone(kept: RankedCandidates, policy: Policy, positions: int) -> tuple[Floats, Floats]:
    """Return the target's probabilities of what was shown, and the mean predicted reward; 0 where nothing is left."""
    target, expected = np.zeros(positions), np.zeros(positions)
    if len(kept.scores):
        found = policy.propensities(kept.scores, kept.placed, kept.limits)[:positions]
        target[: len(found)] = found
    for at in range(min(positions, len(kept.placed) + 1)):
        if at < len(kept.scores):
            chances = policy.next_propensities(kept.scores, kept.placed[:at], kept.limits)
            expected[at] = chances @ kept.predicted
    return target, expected
