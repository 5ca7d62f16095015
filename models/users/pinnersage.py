"""Interests of a user (PinnerSage: Pal et al., KDD 2020): clusters of the items acted on, each told by one of them.

Item vectors stay as they are; nothing is learned. Actions that are near to each other are one interest, however many
there are, and its medoid is an item, so it can be shown and looked up in any version of the item vectors::

    actions, by their items' vectors      a a' b a'' c b'
    Ward, merged up to a distance         {a a' a''}  {b b'}  {c}
    medoid, and importance                a' 2.3      b 1.1   c .4     newer actions count more

What is not as published: actions are of one kind, saves and clicks alike, and at most ``max_actions`` of them; vectors
are scaled to length 1.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import linkage

from rankstream.features.actions import ActionColumns
from rankstream.features.embeddings.base import VectorTable
from rankstream.features.embeddings.files import KEPT_VERSIONS
from rankstream.features.ids import Id
from rankstream.features.interests.interests import NO_INTERESTS, UserInterests, decayed, in_order
from rankstream.features.interests.table import publish_interests
from rankstream.features.schema import Bools, Floats, Ints
from rankstream.features.user_view import known_actions

SAME = 1e-12  # squared distance below which two float32 vectors are one: products of equal ones differ by rounding


@dataclass(frozen=True)
class PinnerSageConfig:
    """How interests are found; the paper's figure behind each, and docs/log.md for why ours is another."""

    max_merge_distance: float = 1.6  # of unit vectors, alpha: clusters that are further apart stay two; not published
    max_actions: int = 250  # newest, which bounds the work; all of 90 days
    decay_per_day: float = 1.0  # lambda; .01, whose unit is not said: a day fits

    def __post_init__(self) -> None:
        if not (self.max_merge_distance >= 0 and self.decay_per_day >= 0):
            raise ValueError(
                f"a merge distance of {self.max_merge_distance} and a decay of {self.decay_per_day} given; wanted none "
                "below 0"
            )
        if self.max_actions < 1:
            raise ValueError(f"{self.max_actions} actions given; wanted at least 1")


def interests_of(actions: ActionColumns, items: VectorTable, now_ms: int, config: PinnerSageConfig) -> UserInterests:
    """Return the interests that actions, newest first, show as of ``now_ms``, the most important first.

    Actions on items without a vector show none.
    """
    newest = known_actions(actions, now_ms)[: config.max_actions]
    vectors, _ = items.look_up(newest.item_keys)
    lengths = np.linalg.norm(vectors, axis=1)
    known = np.flatnonzero(lengths > 0)
    if not len(known):
        return NO_INTERESTS
    units = vectors[known] / lengths[known, None]
    labels = ward_labels(units, config.max_merge_distance)
    medoids = medoids_of(units, labels)
    weights = decayed(now_ms - newest.times_ms[known], config.decay_per_day)
    return in_order(
        UserInterests(
            newest.item_keys[known][medoids],
            np.bincount(labels, weights).astype(np.float32),
            np.bincount(labels),
        )
    )


def ward_labels(vectors: Floats, max_distance: float) -> Ints:
    """Return the cluster of each vector ``(n, I)``, from 0, numbered by their first members.

    Of all pairs of clusters the one whose merger adds least to the variance is merged, up to ``max_distance``.
    """
    if len(vectors) == 1:
        return np.zeros(1, np.int64)
    merges = linkage(_distances(vectors.astype(np.float64)), "ward")
    tops = _tops(merges[: np.searchsorted(merges[:, 2], max_distance, side="right"), :2], len(vectors))
    _, firsts, which = np.unique(tops, return_index=True, return_inverse=True)
    numbers: Ints = np.argsort(np.argsort(firsts))[which]
    return numbers


def _distances(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the distances of all pairs, in scipy's order; a matrix product takes half of the time of its ``pdist``."""
    squares = vectors @ vectors.T
    lengths = np.diag(squares).copy()
    squares *= -2
    squares += lengths
    squares += lengths[:, None]
    of_pairs: npt.NDArray[np.float64] = squares[_later_ones(len(vectors))]
    of_pairs[of_pairs < SAME] = 0
    return np.sqrt(of_pairs, out=of_pairs)


@lru_cache(maxsize=16)  # most users have as many actions as are taken
def _later_ones(count: int) -> Bools:
    return np.triu(np.ones((count, count), np.bool_), 1)


def _tops(merges: npt.NDArray[np.float64], count: int) -> Ints:
    """Return the last of the mergers that each of ``count`` vectors is part of, itself where there is none."""
    top = list(range(count + len(merges)))
    for at, (one, other) in reversed(list(enumerate(merges.astype(np.int64).tolist(), start=count))):
        top[one] = top[other] = top[at]
    return np.array(top[:count], np.int64)


def medoids_of(vectors: Floats, labels: Ints) -> Ints:
    """Return the row of each cluster's medoid: of its members, the one nearest to all of them, by squared distances.

    Among unit vectors that is the one nearest to their sum; of equal ones the first.
    """
    by_label = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[by_label], prepend=-1))
    sums = np.add.reduceat(vectors[by_label].astype(np.float64), starts, axis=0)
    nearness = np.einsum("nd,nd->n", vectors, sums[labels]).round(6)  # both of two are equal but for rounding
    order = np.lexsort((np.arange(len(labels)), -nearness, labels))
    return order[np.flatnonzero(np.diff(labels[order], prepend=-1))]


@dataclass(frozen=True)
class FoundInterests:
    """What a batch job found and published."""

    folder: Path  # of the new version
    users: int  # with at least one interest
    interests: int  # of all of them
    unknown: int  # left out: no action on a known item


def find_interests(
    items: VectorTable,
    histories: Iterable[tuple[Id, ActionColumns]],
    liked: Callable[[ActionColumns], Bools],
    root: Path,
    *,
    item_space: str,
    as_of_ms: int,
    config: PinnerSageConfig,
    keep: int = KEPT_VERSIONS,
) -> FoundInterests:
    """Publish the interests of all these users as of a time; nothing later is read.

    ``histories`` are newest first, ``liked`` says which of the actions show an interest.
    """
    users: list[Id] = []
    found: list[UserInterests] = []
    unknown = 0
    for user, actions in histories:
        known = known_actions(actions, as_of_ms)
        interests = interests_of(known[liked(known)], items, as_of_ms, config)
        if len(interests):
            users.append(user)
            found.append(interests)
        else:
            unknown += 1
    folder = publish_interests(
        root, users, found,
        item_space=item_space, as_of_ms=as_of_ms, keep=keep,
        decay_per_day=config.decay_per_day, max_merge_distance=config.max_merge_distance,
    )  # fmt: skip
    return FoundInterests(folder, len(users), sum(map(len, found)), unknown)
