"""Items as columns sorted by key, and columns with changes merged into them: the same bytes by either way.

::

    {"id": "a7", "category": ["Shoes", "Running"], "price": 59.9, "group": "asics"}

    keys        (n,) uint64, sorted            prices      (n,) float64, NaN where there is none
    categories  (n, L) int32, a code a level   groups      (n,) int32, a code
    created_ms  (n,) int64, -1 where unknown   items, ends  the items' JSON, one after the other, and where each ends

A code is an index into ``paths`` (sorted; a parent stands before its children) or ``group_keys`` (sorted); -1: none.
Both hold what occurs and nothing else, so codes are of one version: names lead from one version to another.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt

from rankstream.content.items import Item
from rankstream.features.embeddings.key_search import Rows
from rankstream.features.ids import Keys, id_key

Path = tuple[str, ...]  # of a category: names, the widest first
Codes = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

NONE = -1

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class ItemColumns:
    """The items of one version."""

    keys: Keys
    prices: Numbers
    categories: Codes
    groups: Codes
    created_ms: Ints
    paths: tuple[Path, ...]
    group_keys: Keys
    items: Bytes
    ends: npt.NDArray[np.uint64]

    def json(self, row: int) -> bytes:
        """Return the JSON of one item."""
        start = int(self.ends[row - 1]) if row else 0
        return self.items[start : int(self.ends[row])].tobytes()


def columns_of(items: Mapping[int, Item]) -> ItemColumns:
    """Return items, by key, as columns."""
    keys = np.array(sorted(items), np.uint64)
    sorted_items = [items[key] for key in keys.tolist()]
    paths = _paths_of(item.category for item in sorted_items)
    code_of = {path: code for code, path in enumerate(paths)}
    depth = max(map(len, paths), default=0)
    group_of = [NONE if item.group is None else id_key(item.group) for item in sorted_items]
    group_keys = np.array(sorted({group for group in group_of if group != NONE}), np.uint64)
    codes = {key: code for code, key in enumerate(group_keys.tolist())}
    texts = [_encode(item) for item in sorted_items]
    categories = [_codes_of(item.category, code_of, depth) for item in sorted_items]
    return ItemColumns(
        keys=keys,
        prices=np.array([np.nan if item.price is None else item.price for item in sorted_items], np.float64),
        categories=np.array(categories, np.int32).reshape(len(keys), depth),
        groups=np.array([codes.get(group, NONE) for group in group_of], np.int32),
        created_ms=np.array([NONE if (at := item.created_at_ms) is None else at for item in sorted_items], np.int64),
        paths=paths,
        group_keys=group_keys,
        items=np.frombuffer(b"".join(texts), np.uint8),
        ends=np.cumsum([len(text) for text in texts], dtype=np.uint64),
    )


def _paths_of(categories: Iterable[Path | None]) -> tuple[Path, ...]:
    """Return all paths that occur and those that lead to them, sorted."""
    whole = {category for category in categories if category is not None}
    return tuple(sorted({path[: level + 1] for path in whole for level in range(len(path))}))


def _codes_of(category: Path | None, code_of: Mapping[Path, int], depth: int) -> list[int]:
    path = category or ()
    return [code_of[path[: level + 1]] if level < len(path) else NONE for level in range(depth)]


def merged(old: ItemColumns, changes: Mapping[int, Item | None]) -> ItemColumns:
    """Return columns with items added, replaced or (None) removed: what ``columns_of`` makes of the items that stay.

    What is not changed is copied in as few pieces as there are changes, so few changes cost little more than writing.
    """
    new = columns_of({key: item for key, item in changes.items() if item is not None})
    touched = np.array(sorted(changes), np.uint64)
    kept = np.flatnonzero(~np.isin(old.keys, touched, assume_unique=True))
    keys = np.concatenate([old.keys[kept], new.keys])
    order = np.argsort(keys, kind="stable")
    paths, old_paths, new_paths = _joined_paths(old, new, kept)
    group_keys = np.unique(np.concatenate([_used(old.group_keys, old.groups[kept]), new.group_keys]))
    depth = max(map(len, paths), default=0)
    items, ends = _joined_items(old, new, kept, order)
    return ItemColumns(
        keys=keys[order],
        prices=np.concatenate([old.prices[kept], new.prices])[order],
        categories=np.concatenate(
            [_recoded(old.categories[kept], old_paths, depth), _recoded(new.categories, new_paths, depth)]
        )[order],
        groups=np.concatenate([_regrouped(one, group_keys, rows) for one, rows in ((old, kept), (new, None))])[order],
        created_ms=np.concatenate([old.created_ms[kept], new.created_ms])[order],
        paths=paths,
        group_keys=group_keys,
        items=items,
        ends=ends,
    )


def _used(names: Keys, codes: Codes) -> Keys:
    used: Keys = names[np.unique(codes[codes != NONE])]
    return used


def _joined_paths(old: ItemColumns, new: ItemColumns, kept: Rows) -> tuple[tuple[Path, ...], Codes, Codes]:
    """Return the paths of both, and the new code of each old one, with -1 at the end for none."""
    used = np.unique(old.categories[kept])
    paths = tuple(sorted({*(old.paths[code] for code in used.tolist() if code != NONE), *new.paths}))
    code_of = {path: code for code, path in enumerate(paths)}
    old_codes, new_codes = (
        np.array([*(code_of.get(path, NONE) for path in one.paths), NONE], np.int32) for one in (old, new)
    )
    return paths, old_codes, new_codes


def _recoded(categories: Codes, codes: Codes, depth: int) -> Codes:
    """Return categories ``(n, L)`` by other codes and of another depth."""
    wide = np.full((len(categories), depth), NONE, np.int32)
    shared = min(depth, categories.shape[1])
    wide[:, :shared] = codes[categories[:, :shared]]
    return wide


def _regrouped(one: ItemColumns, group_keys: Keys, rows: Rows | None) -> Codes:
    groups = one.groups if rows is None else one.groups[rows]
    if not len(one.group_keys):
        return groups
    return np.where(groups == NONE, NONE, np.searchsorted(group_keys, one.group_keys[groups])).astype(np.int32)


def _joined_items(old: ItemColumns, new: ItemColumns, kept: Rows, order: Rows) -> tuple[Bytes, npt.NDArray[np.uint64]]:
    """Return the JSON of kept and new items in their new order, in as few pieces as can be."""
    sources = np.concatenate([kept, np.arange(len(new.keys)) + len(old.keys)])[order]  # new ones count on after old
    lengths = np.concatenate([np.diff(one.ends, prepend=np.uint64(0)) for one in (old, new)])
    pieces = [_piece(old, new, first, last) for first, last in _runs(sources, len(old.keys))]
    items = np.concatenate(pieces) if pieces else np.empty(0, np.uint8)
    return items, np.cumsum(lengths[sources], dtype=np.uint64)


def _runs(sources: Rows, split: int) -> Iterator[tuple[int, int]]:
    """Yield first and last of each run of consecutive numbers; none goes over ``split``."""
    if not len(sources):
        return
    breaks = np.flatnonzero((np.diff(sources) != 1) | (sources[1:] == split)) + 1
    for start, end in pairwise([0, *breaks.tolist(), len(sources)]):
        yield int(sources[start]), int(sources[end - 1])


def _piece(old: ItemColumns, new: ItemColumns, first: int, last: int) -> Bytes:
    one, base = (new, len(old.keys)) if first >= len(old.keys) else (old, 0)
    start = int(one.ends[first - base - 1]) if first > base else 0
    return one.items[start : int(one.ends[last - base])]
