"""Erasures in a log that is read as a whole: which rows are of before one of their user, and are left out.

::

    u1 a 1:00     u2 b 1:10     u1 c 2:00     u1 erased as of 1:30     ->     u2 b 1:10     u1 c 2:00

A worker, and a replay, meet an erasure in its place instead: a history of before it is gone from then on alone.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rankstream.events.arrivals import Arrivals
from rankstream.features.ids import Id, Ids, id_bytes

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass
class Erasures:
    """The time of each user's last erasure, UTC ms, by the users' keys."""

    times_ms: dict[bytes, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.times_ms)

    def taken_out_of(self, batches: Iterable[Arrivals]) -> Iterator[Arrivals]:
        """Yield the batches without their erasures, which are noted."""
        for batch in batches:
            erasures = batch.erasures
            for row in np.flatnonzero(erasures).tolist():
                key, at_ms = batch.user_keys[row], int(batch.times_ms[row])
                self.times_ms[key] = max(at_ms, self.times_ms.get(key, 0))
            yield batch.taken(np.flatnonzero(~erasures)) if erasures.any() else batch

    @property
    def users(self) -> list[Id]:
        """Return the texts of the users' ids."""
        return [key.decode() for key in self.times_ms]

    def keep(self, users: Ids, times_ms: Ints) -> Bools:
        """Return which rows, ``(n,)``, are of after the last erasure of their user, or of users without one."""
        if not self.times_ms:
            return np.ones(len(users), np.bool_)
        different, which = np.unique(users, return_inverse=True)
        last = [self.times_ms.get(id_bytes(user), -1) for user in different.tolist()]
        kept: Bools = times_ms > np.array(last, np.int64)[which]
        return kept
