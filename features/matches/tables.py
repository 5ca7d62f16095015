"""Which items go together in sessions: sparse tables that a batch job makes and serving maps into memory.

::

    items       a  b  c  d         sorted by key; every number below is a row of these
    followers   a: b 7  c 2        what came just after an item in a session, and how often
    neighbours  a: c .41  d .20    items of the same sessions, by cosine
    sessions    a: 3  9  17        the newest sessions that hold an item; numbers grow with time
    members     3: a  c            the items of a session

All are lists of rows, one after the other (compressed sparse rows), so that a look-up is a slice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64

from rankstream.features.embeddings.key_search import KeySearch
from rankstream.features.files import read_array
from rankstream.features.ids import Keys
from rankstream.features.schema import Bools, Floats, Ints

Rows32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Lists:
    """A list of rows for each of n rows."""

    starts: Ints  # (n + 1,) where each list starts
    rows: Rows32  # of all lists, one after the other

    def __len__(self) -> int:
        return len(self.starts) - 1

    def slice(self, row: int) -> slice:
        """Return where the list of a row lies."""
        return slice(int(self.starts[row]), int(self.starts[row + 1]))

    def of(self, row: int) -> Rows32:
        """Return the list of a row."""
        return self.rows[self.slice(row)]

    def places(self, rows: Ints | Rows32) -> tuple[Ints, Ints]:
        """Return where the entries of several rows' lists lie, one list after the other, and each list's length."""
        starts = self.starts.take(rows)
        lengths = self.starts.take(rows + 1) - starts
        ends = np.cumsum(lengths)
        return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths), lengths


@dataclass(frozen=True)
class WeighedLists(Lists):
    """Lists sorted by row, each row once, with a weight an entry."""

    weights: Floats

    def weights_of(self, row: int) -> Floats:
        """Return the weights of a row's list."""
        return self.weights[self.slice(row)]


@dataclass(frozen=True)
class MatchTables:
    """The tables of one version, in memory or mapped."""

    keys: Keys  # (n,) sorted
    followers: WeighedLists  # weights: how often
    neighbours: WeighedLists  # weights: regularised cosine
    sessions: Lists  # numbers of sessions, ascending
    members: Lists  # one list a session
    totals: Floats  # (n,) how often anything followed an item
    rarities: Floats  # (n,) log of all sessions over those that hold the item

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def search(self) -> KeySearch:
        """Return what finds rows of keys."""
        return KeySearch(self.keys)

    def rows(self, keys: Keys) -> tuple[Ints, Bools]:
        """Return the row of each key and whether it is known; the row of an unknown key is -1."""
        return self.search.rows(keys)


def no_lists() -> WeighedLists:
    """Return the lists of no item."""
    return WeighedLists(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))


def no_matches() -> MatchTables:
    """Return tables without an item: a model that was trained without them, or a log without sessions."""
    nothing, lists = np.zeros(0, np.float32), no_lists()
    plain = Lists(lists.starts, lists.rows)
    return MatchTables(np.zeros(0, np.uint64), lists, lists, plain, plain, nothing, nothing)


def matches_tag(tables: MatchTables) -> int:
    """Return 64 bits that name the tables' content."""
    digest = xxh3_64()
    for name, array in sorted(match_arrays(tables).items()):
        digest.update(f"{name}.npy".encode() + np.ascontiguousarray(array).tobytes())
    return digest.intdigest()


def write_matches(folder: Path, tables: MatchTables) -> None:
    """Write the tables' arrays, ``MATCH_FILES``, into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in match_arrays(tables).items():
        np.save(folder / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)


def open_matches(folder: Path, in_memory: bool = False) -> MatchTables:
    """Map the tables that ``write_matches`` wrote, or read them. Raises ``OSError`` or ``ValueError``."""
    found: dict[str, Any] = {}
    for name in MATCH_FILES:
        array = read_array(folder / name, mapped=not in_memory)
        found[name.removesuffix(".npy")] = np.asarray(array)  # a slice of a memmap costs ten of an array's
    return tables_of(found)


def tables_of(found: Mapping[str, npt.NDArray[Any]]) -> MatchTables:
    """Return the tables that consist of these ``match_arrays``. Raises ``KeyError`` for one that is missing."""

    def lists(name: str) -> Lists:
        return Lists(found[f"{name}.starts"], found[f"{name}.rows"])

    def weighed(name: str) -> WeighedLists:
        return WeighedLists(found[f"{name}.starts"], found[f"{name}.rows"], found[f"{name}.weights"])

    return MatchTables(
        keys=found["keys"],
        followers=weighed("followers"),
        neighbours=weighed("neighbours"),
        sessions=lists("sessions"),
        members=lists("members"),
        totals=found["totals"],
        rarities=found["rarities"],
    )


def match_arrays(tables: MatchTables) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays by name, as ``followers.starts``."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for spec in fields(MatchTables):
        value = getattr(tables, spec.name)
        if isinstance(value, Lists):
            kinds = [part.name for part in fields(value)]
            arrays |= {f"{spec.name}.{kind}": getattr(value, kind) for kind in kinds}
        else:
            arrays[spec.name] = value
    return arrays


MATCH_FILES = tuple(sorted(f"{name}.npy" for name in match_arrays(no_matches())))
