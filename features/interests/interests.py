"""Interests of one user: an item that stands for each, and how important it is now.

Between two batch jobs new actions join the interests that they are near to, or open one of their own::

    of the batch          a 2.1   b .7       a day later: both decayed alike
    new action on a''     a 3.1   b .7       it is near to a
    new action on c       a 3.1   c 1.0   b .7
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankstream.features.embeddings.base import VectorTable
from rankstream.features.ids import Keys
from rankstream.features.schema import Floats, Ints

DAY_MS = 86_400_000
MAX_DECAY = 40.0  # exponent: older actions count alike, or who comes back after years would have no interest left
JOIN_COSINE = 0.85  # from which on an action belongs to an interest (Pinterest, 2026)


@dataclass(frozen=True, slots=True)
class UserInterests:
    """The interests of a user, the most important first."""

    medoids: Keys  # (k,) the item that stands for each
    importances: Floats  # (k,) sum of the decayed actions
    actions: Ints  # (k,) that it is made of

    def __len__(self) -> int:
        return len(self.medoids)


NO_INTERESTS = UserInterests(np.zeros(0, np.uint64), np.zeros(0, np.float32), np.zeros(0, np.int64))


def decayed(ages_ms: npt.NDArray[np.int64], decay_per_day: float) -> npt.NDArray[np.float64]:
    """Return what an action counts that is so old: 1 for one of now, ``exp(-lambda age)`` of PinnerSage."""
    weights: npt.NDArray[np.float64] = np.exp(-np.minimum(decay_per_day * np.maximum(ages_ms, 0) / DAY_MS, MAX_DECAY))
    return weights


def in_order(interests: UserInterests) -> UserInterests:
    """Return the most important first; of equal ones the order stays."""
    order = np.argsort(-interests.importances, kind="stable")
    return UserInterests(interests.medoids[order], interests.importances[order], interests.actions[order])


def carried_on(
    interests: UserInterests,
    since_ms: int,
    keys: Keys,
    ages_ms: Ints,
    items: VectorTable,
    decay_per_day: float,
) -> UserInterests:
    """Return the interests now, ``since_ms`` after they were found, with what was acted on since, oldest first.

    An action on an item without a vector, ``keys`` ``(n,)`` of ``ages_ms``, shows none. An interest whose medoid has
    no vector any more is left out: nothing can be found by it.
    """
    found = _units(items, interests.medoids)
    kept = found.any(axis=1)
    medoids = interests.medoids[kept].tolist()
    vectors = np.concatenate([found[kept], np.zeros((len(keys), items.dim), np.float32)])
    importances = (interests.importances[kept] * decayed(np.array([since_ms]), decay_per_day)).tolist()
    actions = interests.actions[kept].tolist()
    for key, vector, weight in zip(keys.tolist(), _units(items, keys), decayed(ages_ms, decay_per_day), strict=True):
        if not vector.any():
            continue
        cosines = vectors[: len(medoids)] @ vector
        if cosines.max(initial=-1.0) >= JOIN_COSINE:
            importances[cosines.argmax()] += weight
            actions[cosines.argmax()] += 1
        else:
            vectors[len(medoids)] = vector
            medoids.append(key)
            importances.append(weight)
            actions.append(1)
    return in_order(
        UserInterests(np.array(medoids, np.uint64), np.array(importances, np.float32), np.array(actions, np.int64))
    )


def _units(items: VectorTable, keys: Keys) -> Floats:
    """Return the items' vectors scaled to length 1, zeros for items without one, ``(n, I)``."""
    vectors, _ = items.look_up(keys)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: Floats = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return units
