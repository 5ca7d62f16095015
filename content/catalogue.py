"""The catalogue: every item that can be had, as of one version, looked up by key.

``publish`` writes a version, ``Catalogue`` maps one, ``live.py`` follows them. The columns are what serving filters and
training reads, whole; titles and texts are read of the items that are asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

import msgspec
import numpy as np

from rankstream.content.columns import NONE, Codes, ItemColumns, Numbers, columns_of, merged
from rankstream.content.columns import Ints as Times
from rankstream.content.columns import Path as CategoryPath
from rankstream.content.files import CatalogueHeader, open_columns, write_columns
from rankstream.content.items import Item
from rankstream.features.embeddings import files
from rankstream.features.embeddings.files import KEPT_VERSIONS
from rankstream.features.embeddings.key_search import KeySearch, Rows
from rankstream.features.ids import Id, Keys, id_key
from rankstream.features.schema import Bools


class _Titled(msgspec.Struct):
    """What is read of an item for its name."""

    id: Id
    title: str | None = None


_decode_item = msgspec.json.Decoder(Item).decode
_decode_titled = msgspec.json.Decoder(_Titled).decode


@dataclass(frozen=True)
class Catalogue:
    """One version, in memory or mapped; safe to read from many threads."""

    header: CatalogueHeader
    columns: ItemColumns
    version: str = ""  # of what was published
    _search: KeySearch = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_search", KeySearch(self.columns.keys))

    @classmethod
    def open(cls, root: Path) -> Self:
        """Map the current version and verify it. Raises ``BrokenTableError``."""
        return files.opened_current(root, cls.open_version)

    @classmethod
    def open_version(cls, folder: Path) -> Self:
        """Map one version, the current one or an older one that is still there. Raises ``BrokenTableError``."""
        header, columns = open_columns(folder)
        return cls(header, columns, folder.name)

    @classmethod
    def of(cls, items: Sequence[Item], as_of_ms: int = 0, currency: str | None = None) -> Self:
        """Return items in memory, as ``publish`` would write them; of one id the last counts, what is gone doesn't."""
        return cls.empty(as_of_ms, currency).changed(
            {id_key(item.id): None if item.gone else item for item in items}, as_of_ms
        )

    @classmethod
    def empty(cls, as_of_ms: int = 0, currency: str | None = None) -> Self:
        """Return a catalogue without items."""
        return cls(CatalogueHeader(count=0, levels=0, currency=currency, as_of_ms=as_of_ms), columns_of({}))

    def changed(self, changes: Mapping[int, Item | None], as_of_ms: int) -> Self:
        """Return this one with items, by key, added, replaced or (None) removed; positions stay."""
        columns = merged(self.columns, changes)
        header = msgspec.structs.replace(
            self.header,
            count=len(columns.keys),
            levels=columns.categories.shape[1],
            as_of_ms=max(as_of_ms, self.as_of_ms),
            checksums={},
        )
        return type(self)(header, columns)

    def __len__(self) -> int:
        return self.header.count

    def snapshot(self) -> Self:
        """Return this version, as ``LiveCatalogue.snapshot`` returns that of now."""
        return self

    @property
    def as_of_ms(self) -> int:
        """What was known of the items until then is in them, UTC."""
        return self.header.as_of_ms

    @property
    def currency(self) -> str | None:
        """Currency of all prices; None where no price says one."""
        return self.header.currency

    @property
    def keys(self) -> Keys:
        """Keys of the items ``(n,)``, sorted."""
        return self.columns.keys

    @property
    def prices(self) -> Numbers:
        """Prices ``(n,)`` float64, NaN where there is none."""
        return self.columns.prices

    @property
    def categories(self) -> Codes:
        """Category codes ``(n, levels)`` int32, the widest level first: indices of ``paths``, -1 for none."""
        return self.columns.categories

    @property
    def groups(self) -> Codes:
        """Group codes ``(n,)`` int32: indices of ``columns.group_keys``, -1 for none."""
        return self.columns.groups

    @property
    def created_ms(self) -> Times:
        """When each item came into being ``(n,)`` int64, ms since 1970 UTC, -1 where that is not known."""
        return self.columns.created_ms

    @property
    def paths(self) -> tuple[CategoryPath, ...]:
        """Path of each category code, of all levels; codes are of this version, paths hold across versions."""
        return self.columns.paths

    def look_up(self, keys: Keys) -> tuple[Rows, Bools]:
        """Return the row of each key and whether it is there; the row of a missing key is meaningless."""
        return self._search.find(keys)

    def prepare(self) -> None:
        """Find out now what the first requests would have to, which reads every item."""
        self.look_up(self.keys[:1])
        _ = self._ages, self._code_of_path, self._group_search

    def category_code(self, path: CategoryPath) -> int | None:
        """Return the code of a path; None for one that no item has."""
        return self._code_of_path.get(path)

    def group_code(self, group: Id) -> int | None:
        """Return the code of a group; None for one that no item has."""
        rows, found = self._group_search.find(np.array([id_key(group)], np.uint64))
        return int(rows[0]) if found[0] else None

    def items(self, rows: Sequence[int] | Rows) -> list[Item]:
        """Return all that is known of the items in these rows."""
        return [_decode_item(self.columns.json(int(row))) for row in rows]

    def ids(self, rows: Sequence[int] | Rows) -> list[Id]:
        """Return the ids of these rows as they came, integers or texts."""
        return [_decode_titled(self.columns.json(int(row))).id for row in rows]

    def titles(self, rows: Sequence[int] | Rows) -> list[str | None]:
        """Return the titles of these rows; None where there is none."""
        return [_decode_titled(self.columns.json(int(row))).title for row in rows]

    @cached_property
    def newest(self) -> Rows:
        """Rows of the items whose time is known, the newest first, of one time by key; found out once."""
        dated = np.flatnonzero(self.created_ms != NONE)
        return dated[np.argsort(-self.created_ms[dated], kind="stable")]

    def created_between(self, after_ms: float, until_ms: float) -> Rows:
        """Return the rows of the items created after one time and not after another, the newest first."""
        start, stop = np.searchsorted(self._ages, (-until_ms, -after_ms), side="left")
        return self.newest[start:stop]

    @cached_property
    def _ages(self) -> Times:
        """Times of ``newest``, negated: ascending, as they are searched."""
        return -self.created_ms[self.newest]

    @cached_property
    def _code_of_path(self) -> dict[CategoryPath, int]:
        return {path: code for code, path in enumerate(self.paths)}

    @cached_property
    def _group_search(self) -> KeySearch:
        return KeySearch(self.columns.group_keys)


def publish(root: Path, catalogue: Catalogue, keep: int = KEPT_VERSIONS) -> Path:
    """Publish a catalogue as the newest version, whole or not at all; return the version's folder.

    All but the newest ``keep`` versions are deleted; this one counts. Raises ``ValueError`` for less than two.
    """
    with files.publishing(root):
        return write_columns(root, catalogue.header, catalogue.columns, keep)
