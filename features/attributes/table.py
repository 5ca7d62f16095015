"""Attributes of items: labels of a few facets, a price, and when each item came into being.

::

    items                   a7   a8   b1   -     sorted by key; behind them stands any unknown item
    labels   category 1      0    0    1   6     codes; a facet has a row, or several where items have several labels
             category 2      2    2    6   6
             collections     4    3    6   6     the labels that there are stand first
             collections     5    6    6   6     6: none
    numbers  price          .3   -1   .5   -     NaN where it is not known
    created                                -1    ms since 1970 UTC, -1 where it is not known

A label belongs to one facet. The code behind the last label stands for none. What a label is called is not kept, but 64
bits of that are, so that an item which arrives later gets the codes that the model learned (``with_items``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64

from rankstream.features.decoding import UNREADABLE
from rankstream.features.embeddings.key_search import KeySearch
from rankstream.features.files import read_array
from rankstream.features.ids import Keys
from rankstream.features.schema import Floats, Ints

Codes = npt.NDArray[np.int32]
Doubles = npt.NDArray[np.float64]

NAMES_FILE = "names.json"
NOT_KNOWN = -1  # a time


class AttributeNames(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the columns are called, in their order; no words of a shop's own are kept but these."""

    facets: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    dated: bool = False  # is it known when items came into being?


@dataclass(frozen=True)
class ItemAttributes:
    """The attributes of all items, frozen with the model that learned from them."""

    names: AttributeNames
    keys: Keys  # (n,) sorted
    labels: Codes  # (W, n + 1)
    facet_of: Ints  # (W,) the facet of each row of the labels, ascending
    shares: Floats  # (labels,) of the actions on items with the facet, those on items with this label
    numbers: Floats  # (n + 1, P) on a scale of about 1
    created_ms: Ints  # (n + 1,)
    label_keys: Keys = field(default_factory=lambda: np.zeros(0, np.uint64))  # (labels,); none in those of before
    usual_numbers: Doubles = field(default_factory=lambda: np.zeros(0))  # (P,) what is 0 on the scale; likewise

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def no_label(self) -> int:
        """Return the code that stands for none."""
        return len(self.shares)

    @cached_property
    def facet_spans(self) -> tuple[tuple[int, int], ...]:
        """Return the first row of each facet's labels, and the one behind its last."""
        return tuple(pairwise(self.facet_starts.tolist()))

    @cached_property
    def facet_starts(self) -> Ints:
        """Return the first row of each facet's labels, and the one behind the last facet's, ``(facets + 1,)``."""
        return np.searchsorted(self.facet_of, np.arange(len(self.names.facets) + 1)).astype(np.int64)

    @cached_property
    def by_item(self) -> Codes:
        """Return the labels with a row an item, ``(n + 1, W)``: those of one item lie side by side in memory."""
        return np.ascontiguousarray(self.labels.T)

    @cached_property
    def facet_of_label(self) -> Ints:
        """Return the facet of each label, ``(labels,)``."""
        facets = np.zeros(self.no_label + 1, np.int64)
        facets[self.labels] = self.facet_of[:, None]
        return facets[:-1]

    @cached_property
    def search(self) -> KeySearch:
        """Return what finds rows of keys."""
        return KeySearch(self.keys)

    def of_no_item(self) -> "ItemAttributes":
        """Return a table of the same columns that knows no item."""
        return replace(
            self,
            keys=self.keys[:0],
            labels=self.labels[:, -1:],
            numbers=self.numbers[-1:],
            created_ms=self.created_ms[-1:],
        )

    @property
    def can_grow(self) -> bool:
        """Return whether items that arrive later can be given the labels and the scale of these."""
        return len(self.label_keys) == self.no_label and len(self.usual_numbers) == len(self.names.numbers)

    def with_items(self, more: "ItemAttributes") -> "ItemAttributes":
        """Return these with the items of another table of the same labels added; what is known here stays to the bit.

        Raises ``ValueError`` for a table of other labels.
        """
        if labels_tag(more) != labels_tag(self):
            raise ValueError("these attributes are of another training's labels")
        new = np.flatnonzero(~self.search.find(more.keys)[1])
        keys = np.concatenate([self.keys, more.keys[new]])
        order = np.argsort(keys, kind="stable")
        rows = np.append(order, len(keys))  # the unknown item stays the last one
        return replace(
            self,
            keys=keys[order],
            labels=_grown(self.labels, more.labels[:, new], axis=1).take(rows, axis=1),
            numbers=_grown(self.numbers, more.numbers[new], axis=0).take(rows, axis=0),
            created_ms=_grown(self.created_ms, more.created_ms[new], axis=0).take(rows),
        )

    def rows(self, keys: Keys) -> Ints:
        """Return the row of each key, the last one for an unknown item, ``(n,)``."""
        rows, found = self.search.find(keys)
        return np.where(found, rows, len(self.keys))


def _grown(own: npt.NDArray[Any], more: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    """Return an array with items put before its last one, which stands for any unknown item."""
    at = own.shape[axis] - 1
    known, unknown = np.split(own, [at], axis=axis)
    return np.concatenate([known, more, unknown], axis=axis)


def no_attributes() -> ItemAttributes:
    """Return a table that says nothing: of a model that was trained without."""
    return ItemAttributes(
        AttributeNames(),
        keys=np.zeros(0, np.uint64),
        labels=np.zeros((0, 1), np.int32),
        facet_of=np.zeros(0, np.int64),
        shares=np.zeros(0, np.float32),
        numbers=np.zeros((1, 0), np.float32),
        created_ms=np.full(1, NOT_KNOWN, np.int64),
    )


ARRAYS = ("keys", "labels", "facet_of", "shares", "numbers", "created_ms")
GROW_BY = ("label_keys", "usual_numbers")  # what no model reads, and tables of before lack
ATTRIBUTE_FILES = (*(f"{name}.npy" for name in (*ARRAYS, *GROW_BY)), NAMES_FILE)


def arrays_of(attributes: ItemAttributes) -> Mapping[str, npt.NDArray[Any]]:
    """Return the arrays that a model reads by name."""
    return {name: getattr(attributes, name) for name in ARRAYS}


def attributes_tag(attributes: ItemAttributes) -> int:
    """Return 64 bits that name the content."""
    digest = xxh3_64(msgspec.json.encode(attributes.names))
    for name, array in arrays_of(attributes).items():
        digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return digest.intdigest()


def labels_tag(attributes: ItemAttributes) -> str:
    """Return 64 bits, in hexadecimal digits, that name the labels and numbers, whatever the items."""
    digest = xxh3_64(msgspec.json.encode(attributes.names))
    for array in (attributes.facet_of, attributes.shares, attributes.label_keys, attributes.usual_numbers):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def write_attributes(folder: Path, attributes: ItemAttributes) -> None:
    """Write ``ATTRIBUTE_FILES`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*ARRAYS, *GROW_BY):
        array = getattr(attributes, name)
        np.save(folder / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)
    (folder / NAMES_FILE).write_bytes(msgspec.json.encode(attributes.names))


def open_attributes(folder: Path) -> ItemAttributes:
    """Read what ``write_attributes`` wrote. Raises ``OSError`` or ``ValueError``."""
    there = [*ARRAYS, *(name for name in GROW_BY if (folder / f"{name}.npy").exists())]
    arrays = {name: read_array(folder / f"{name}.npy") for name in there}
    try:
        names = msgspec.json.decode((folder / NAMES_FILE).read_bytes(), type=AttributeNames)
    except UNREADABLE as exc:
        raise ValueError(f"{folder / NAMES_FILE} can't be read ({exc})") from exc
    return ItemAttributes(names, **arrays)
