"""Which of two rankings people prefer, from lists that mix both: team-draft interleaving.

Radlinski, Kurup & Joachims 2008, "How Does Clickthrough Data Reflect Retrieval Quality?". The rankings pick in turn,
as captains pick teams: in each round a coin decides who picks first, and each adds its best item that is not yet in
the list. An item that the user then acts on is credited to the ranking that picked it::

    first    a b c d         list   a c b d          acted on c    first 0 : second 1
    second   c a b e         team   1 2 1 1 ...

Users decide within one list, so far fewer requests are needed than for comparing two groups of users (Chapelle et al.
2012, "Large-Scale Validation and Analysis of Interleaved Search Evaluation"). Knows nothing of models or logs.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import exp, lgamma, log

import numpy as np

from rankstream.evaluation.off_policy.estimators import Estimate
from rankstream.features.ids import Id
from rankstream.metrics.bootstrap import bootstrap_interval

FIRST, SECOND = 0, 1


@dataclass(frozen=True)
class Interleaved:
    """A list of both rankings' items, each once, and which of them picked each."""

    items: tuple[Id, ...]
    teams: tuple[int, ...]  # FIRST or SECOND


@dataclass(frozen=True)
class Preference:
    """How two rankings compare."""

    wins: int  # requests in which the first earned more credit
    losses: int
    ties: int  # most often without any credit
    win_rate: Estimate  # of the first, a tie counting half; 0.5 where neither is better; users resampled
    p_value: float  # of the sign test over users: how often equal rankings would differ as much at random


def team_draft(first: Sequence[Id], second: Sequence[Id], length: int | None, rng: np.random.Generator) -> Interleaved:
    """Interleave two rankings, best first, to ``length`` items, or all of them.

    A ranking that has nothing left leaves its turns to the other. Ids are compared as they are: ``7`` is not ``"7"``.
    """
    queues = [iter(first), iter(second)]
    items: dict[Id, int] = {}
    sizes, exhausted = [0, 0], [False, False]
    maximum = len(first) + len(second) if length is None else length
    while len(items) < maximum and not all(exhausted):
        team = int(rng.integers(2)) if sizes[FIRST] == sizes[SECOND] else int(sizes[SECOND] < sizes[FIRST])
        team = 1 - team if exhausted[team] else team
        pick = next((item for item in queues[team] if item not in items), None)
        if pick is None:
            exhausted[team] = True
        else:
            items[pick] = team
            sizes[team] += 1
    return Interleaved(tuple(items), tuple(items.values()))


def credit(shown: Interleaved, acted_on: Collection[Id]) -> tuple[int, int]:
    """Return the credit of the first and of the second: the items acted on that each had picked."""
    teams = [team for item, team in zip(shown.items, shown.teams, strict=True) if item in acted_on]
    return teams.count(FIRST), teams.count(SECOND)


def preference(
    credits: Sequence[tuple[float, float]], users: Sequence[object], *, seed: int, level: float = 0.95
) -> Preference:
    """Sum up many requests' credits ``(first, second)``. Raises ``ValueError`` for none.

    The interval resamples users and the sign test counts each user once, by who won more of their requests: one
    user's requests are alike.
    """
    signs = np.array([np.sign(one - other) for one, other in credits])
    values = (1 + signs) / 2
    low, high = bootstrap_interval(values, users, seed=seed, level=level)
    by_user: dict[object, float] = {}
    for user, sign in zip(users, signs.tolist(), strict=True):
        by_user[user] = by_user.get(user, 0.0) + sign
    balance = np.array(list(by_user.values()))
    return Preference(
        wins=int((signs > 0).sum()),
        losses=int((signs < 0).sum()),
        ties=int((signs == 0).sum()),
        win_rate=Estimate(float(values.mean()), low, high),
        p_value=sign_test(int((balance > 0).sum()), int((balance < 0).sum())),
    )


def sign_test(wins: int, losses: int) -> float:
    """Return the two-sided p-value of so many wins if a fair coin decided each; ties left out (Dixon & Mood 1946)."""
    rounds, maximum = wins + losses, max(wins, losses)
    if wins == losses:
        return 1.0
    term = exp(lgamma(rounds + 1) - lgamma(maximum + 1) - lgamma(rounds - maximum + 1) - rounds * log(2))
    tail = 0.0
    while maximum <= rounds and term > tail * 1e-17:
        tail += term
        term *= (rounds - maximum) / (maximum + 1)
        maximum += 1
    return min(1.0, 2 * tail)
