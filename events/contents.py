"""What a log holds, for who looks whether it was read right: how many users and items, which actions, when.

::

    batches of Arrivals  ->  Contents  ->  1,102 users, 1,000 items; 2023-10-02 to 2023-11-12; view 62,001, cart 12,345
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from rankstream.events.arrivals import Arrivals
from rankstream.features.actions import Vocabulary
from rankstream.features.ids import Id

BUSY = 0.2  # share of the actions from which on a user is hardly one
FEW_USERS = 5  # of whom somebody always has as much


@dataclass
class Contents:
    """Counts of what was read so far."""

    users: Counter[Id] = field(default_factory=Counter)
    items: set[int] = field(default_factory=set)  # their keys
    codes: Counter[int] = field(default_factory=Counter)  # of actions
    first_ms: int | None = None  # None before anything was read
    last_ms: int | None = None

    def add(self, arrivals: Arrivals) -> None:
        """Count a batch; erasures are no actions."""
        done = arrivals.without_erasures()
        if not len(done):
            return
        self.users.update(done.user_ids)
        self.items.update(np.unique(done.item_keys).tolist())
        self.codes.update(done.codes.tolist())
        first, last = int(done.times_ms.min()), int(done.times_ms.max())
        self.first_ms = first if self.first_ms is None else min(self.first_ms, first)
        self.last_ms = last if self.last_ms is None else max(self.last_ms, last)

    def actions(self, vocabulary: Vocabulary) -> dict[str, int]:
        """Return how often each action occurs, the most common first."""
        name_of = {code: name for name, code in vocabulary.action_codes.items()}
        return {name_of[code]: count for code, count in self.codes.most_common()}


def one_for_many(users: Mapping[Id, int]) -> str | None:
    """Return what to say of a user who did a fifth of all, by how much each did; None where nobody did.

    Such a one mostly stands for everybody without an account.
    """
    if len(users) < FEW_USERS:
        return None
    user, most = max(users.items(), key=lambda one: one[1])
    every = sum(users.values())
    if most < BUSY * every:
        return None
    return (
        f"{most:,} of {every:,} actions ({most / every:.0%}) are of one user, {user!r}; if that stands for everybody "
        "without an account, leave those rows out, or take a column that tells them apart with --map user_id=COLUMN"
    )
