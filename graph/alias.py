"""Lists whose entries are drawn by weight, in one look-up each: the alias method (Walker 1977; Vose 1991).

Each entry has a slot of the same size; what is too heavy for its own fills up those of lighter ones, so that no slot
holds more than two::

    weights      a 5   b 3   c 1            of 9 in 3 slots: 3 each
    slots        a 3   |   b 3   |   c 1 a 2
    threshold    1         1         1/3            the share of the slot that is its own entry's
    other                            a              whose the rest is

A uniform number picks a slot by its whole part and, by its fraction, one of the two. Equal weights fill every slot with
its own entry, so that the same numbers draw the same as from lists without weights.

Slots are filled for all lists at once, without a loop: lighter and heavier entries in a row, the heaviness that is
left over at a place follows from sums up to there (the sweep of Huebschle-Schneider and Sanders, "Parallel Weighted
Random Sampling", ESA 2019). Weights are rounded to whole parts of a slot first, so that these sums are exact.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankstream.features.matches.tables import Lists, Rows32
from rankstream.features.schema import Ints

SLOT = 1 << 31  # parts of a slot, the finest difference between two weights of a list
Thresholds = npt.NDArray[np.uint32]
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AliasLists(Lists):
    """Lists of rows, and what draws one of a list by weight."""

    thresholds: Thresholds  # of each entry: parts of its slot that are its own
    others: Rows32  # of each entry: the row that the rest of its slot is


def alias_lists(lists: Lists, weights: Weights) -> AliasLists:
    """Return the lists with what draws from them by ``weights`` ``(e,)``, above 0, one an entry."""
    lengths = np.diff(lists.starts)
    of = np.repeat(np.arange(len(lengths)), lengths)
    parts = _parts(lists, weights, lengths, of)
    thresholds, others = parts.clip(max=SLOT), np.arange(len(parts))
    light, heavy = np.flatnonzero(parts < SLOT), np.flatnonzero(parts > SLOT)
    lacking, extra = np.cumsum(SLOT - parts[light]), np.cumsum(parts[heavy] - SLOT)  # each list's sums are equal
    before = lacking - (SLOT - parts[light])
    others[light] = heavy[np.searchsorted(extra, before, side="right")]
    _overdrawn(thresholds, others, heavy, lacking, before, extra)
    return AliasLists(lists.starts, lists.rows, thresholds.astype(np.uint32), lists.rows[others])


def _overdrawn(thresholds: Ints, others: Ints, heavy: Ints, lacking: Ints, before: Ints, extra: Ints) -> None:
    """Let the next heavy entry fill up what a heavy one gave away too much, where the last light one took that."""
    if not len(heavy):
        return
    last = np.searchsorted(lacking, extra, side="right")
    taken = np.append(lacking, lacking[-1])[last] - extra
    is_overdrawn = np.append(before, lacking[-1])[last] < extra
    at = np.flatnonzero(is_overdrawn)
    thresholds[heavy[at]] = SLOT - taken[at]
    others[heavy[at]] = heavy[at + 1]


def _parts(lists: Lists, weights: Weights, lengths: Ints, of: Ints) -> Ints:
    """Return each entry's weight in parts of a slot, whole numbers; each list's sum is its length in slots."""
    totals = np.bincount(of, weights, len(lengths))
    shares = weights * (lengths / np.where(totals > 0, totals, 1.0))[of]
    parts = np.rint(shares * SLOT).astype(np.int64)
    sums = np.concatenate([[0], np.cumsum(parts)])
    rounded = lengths * SLOT - (sums[lists.starts[1:]] - sums[lists.starts[:-1]])
    parts[_heaviest(lists, parts, lengths, of)] += rounded[lengths > 0]  # where it is felt least
    return parts


def _heaviest(lists: Lists, parts: Ints, lengths: Ints, of: Ints) -> Ints:
    """Return where the heaviest entry of each list that is not empty lies, the first of equal ones."""
    if not len(parts):
        return np.zeros(0, np.int64)
    most = np.zeros(len(lengths), np.int64)
    most[lengths > 0] = np.maximum.reduceat(parts, lists.starts[:-1][lengths > 0])
    found = np.flatnonzero(parts == most[of])
    firsts: Ints = found[np.unique(of[found], return_index=True)[1]]
    return firsts
