"""What a point's user chooses from: what was shown, the whole catalogue, or a sample of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankstream.evaluation.replay.protocols import Point
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.ids import Id, Keys, id_key, id_keys

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Choice:
    """The candidates of one point."""

    ids: Sequence[Id]
    keys: Keys
    done: Sequence[int]  # masks of what was done to each
    target_known: bool = True
    sampled_from: int | None = None  # candidates that the sample stands for

    def places_in_all(self, places: Ints) -> Ints:
        """Scale places in a sample to expected places among all: unbiased for uniform samples.

        Source: Krichene and Rendle, On Sampled Metrics for Item Recommendation, KDD 2020.
        """
        if self.sampled_from is None or len(self.ids) < 2:
            return places
        stretched: Ints = 1 + np.rint((places - 1) * (self.sampled_from - 1) / (len(self.ids) - 1)).astype(np.int64)
        return stretched


Choose = Callable[[Point], Choice]


class Catalogue:
    """All items that any of the bundles knows, ordered by key."""

    def __init__(self, tables: Sequence[EmbeddingTable]) -> None:
        ids = {id_key(one): one for table in tables for one in table.ids(np.arange(len(table)))}
        self.keys: Keys = np.array(sorted(ids), np.uint64)
        self.ids = [ids[key] for key in self.keys.tolist()]

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, key: int) -> int | None:
        """Return the row of an item, if it is known."""
        at = int(np.searchsorted(self.keys, np.uint64(key)))
        return at if at < len(self.keys) and int(self.keys[at]) == key else None

    def choice(self, point: Point, rows: Ints | None = None) -> Choice:
        """Return the catalogue, or these rows of it, with the point's target: last where it is not among them."""
        target = point.draft.exposure
        chosen = np.arange(len(self)) if rows is None else rows
        row = self.row(target.item_key)
        place = None if row is None else np.flatnonzero(chosen == row)
        if place is None or not len(place):
            ids = [self.ids[one] for one in chosen] + [target.item_id]
            keys = np.append(self.keys[chosen], np.uint64(target.item_key))
            return Choice(ids, keys, [0] * len(chosen) + [target.done], target_known=row is not None)
        done = [0] * len(chosen)
        done[int(place[0])] = target.done
        return Choice(self.ids if rows is None else [self.ids[one] for one in chosen], self.keys[chosen], done)


def as_shown(seed: int) -> Choose:
    """Choose from what the point brings along, shuffled: equal scores must not keep the order that it was shown in."""
    rng = np.random.default_rng([seed, 3])

    def choose(point: Point) -> Choice:
        shown = point.candidates or ()
        order = rng.permutation(len(shown)).tolist()
        ids = [shown[row] for row in order]
        return Choice(ids, id_keys(ids), [point.done[row] for row in order])

    return choose


def whole(catalogue: Catalogue, *, exclude_seen: bool) -> Choose:
    """Choose from the whole catalogue; ``exclude_seen`` leaves out what the user has met, the target excepted."""

    def choose(point: Point) -> Choice:
        if not exclude_seen:
            return catalogue.choice(point)
        met = np.array(sorted(point.draft.met), np.uint64)
        unmet = ~np.isin(catalogue.keys, met) | (catalogue.keys == np.uint64(point.draft.exposure.item_key))
        return catalogue.choice(point, np.flatnonzero(unmet))

    return choose


def sampled(catalogue: Catalogue, count: int, seed: int) -> Choose:
    """Choose from ``count`` items drawn uniformly, and the target."""
    rng = np.random.default_rng(seed)

    def choose(point: Point) -> Choice:
        drawn = np.sort(rng.choice(len(catalogue), min(count, len(catalogue)), replace=False))
        row = catalogue.row(point.draft.exposure.item_key)
        choice = catalogue.choice(point, drawn[drawn != row] if row is not None else drawn)
        return Choice(choice.ids, choice.keys, choice.done, row is not None, sampled_from=len(catalogue))

    return choose
