"""Exploration: randomising a little of the feed's order, and logging how likely it was.

A policy (``policies.py``) with the seed of its random numbers. They are a function of (seed, user, request), so the
same request is answered by the same feed, live and in replay. What a feed records of it, ``Exploration.text``, is read
back to the same policy: what was served by a rule is verified and evaluated by that rule, also when workers have
another one since.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from rankstream.features.ids import Id, id_bytes
from rankstream.ranking.policies import (
    EpsilonGreedy,
    Greedy,
    Limits,
    Placed,
    PlackettLuce,
    Policy,
    RelativePlackettLuce,
)
from rankstream.ranking.utility import Scores


@dataclass(frozen=True)
class Exploration:
    """A policy and the seed of its random numbers: what a ranker is made with."""

    policy: Policy = field(default_factory=Greedy)
    seed: int = 0

    @property
    def text(self) -> str | None:
        """Return policy and seed as the feed records them; None for a deterministic policy."""
        return None if self.policy.text is None else f"{self.policy.text} seed={self.seed}"

    def place(self, scores: Scores, limits: Limits, user_id: Id, request_id: Id) -> Placed:
        """Order the candidates of one request."""
        return self.policy.place(scores, limits, lambda count: uniforms(count, self.seed, user_id, request_id))

    def entropy(self, scores: Scores) -> float | None:
        """Return how random the first position is: its distribution's entropy over that of the uniform one, 0 to 1.

        Exact: a softmax over the candidates. None where there is nothing to choose: a deterministic policy, or one
        candidate.
        """
        if self.text is None or len(scores) < 2:
            return None
        probabilities = self.policy.next_propensities(scores, (), Limits())
        likely = probabilities[probabilities > 0]
        return float(-(likely * np.log(likely)).sum() / np.log(len(scores)))


NO_EXPLORATION = Exploration()
POLICIES: dict[tuple[str, str], Callable[[float], Policy]] = {  # by name and parameter, as feeds record them
    ("epsilon-greedy", "epsilon"): EpsilonGreedy,
    ("plackett-luce", "relative-temperature"): RelativePlackettLuce,
    ("plackett-luce", "temperature"): PlackettLuce,  # in units of the score: what was served before
}


def exploration_named(text: str | None) -> Exploration:
    """Return the exploration of an ``Exploration.text``, to the bit. Raises ``ValueError`` for any other text."""
    if text is None:
        return NO_EXPLORATION
    named = re.fullmatch(r"([\w-]+) ([\w-]+)=(\S+) seed=(\d+)", text)
    policy = None if named is None else POLICIES.get((named[1], named[2]))
    if named is None or policy is None:
        wanted = Exploration(RelativePlackettLuce(0.1)).text
        raise ValueError(f"policy {text!r} given; wanted one as feeds record it: {wanted}")
    return Exploration(policy(float(named[3])), int(named[4]))


def uniforms(count: int, seed: int, user_id: Id, request_id: Id) -> Scores:
    """Return ``(count,)`` numbers between 0 and 1, both excluded; a function of seed, user and request on any machine.

    Made from PCG64's raw output, which numpy promises to keep (NEP 19), unlike that of its ``Generator``.
    """
    named = [id_bytes(user_id), id_bytes(request_id)]
    text = b"".join(len(name).to_bytes(4, "little") + name for name in named)
    digest = blake2b(text, digest_size=16, key=str(seed).encode(), person=b"exploration").digest()
    raw = np.random.PCG64(int.from_bytes(digest, "little")).random_raw(count)
    numbers: Scores = ((raw >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return numbers
