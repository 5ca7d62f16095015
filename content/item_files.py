"""A file of items, however it is written, as items: Parquet, delimited text or JSON lines.

::

    sku;name;breadcrumb;price;added                      --map id=sku: id a7, title Trail X, category Shoes/Running,
    a7;Trail X;Shoes > Running;59,90;2024-03-01   --->   price 59.9, created_at_ms of that day

A row whose id can't be read is skipped and counted by its reason; any other field that can't be read counts as missing,
and is counted too: an item without a price can still be ranked. Of rows with one id the last one counts.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import Any

import msgspec

from rankstream.content.catalogue import Catalogue
from rankstream.content.field_names import guessed, parents
from rankstream.content.items import COLLISION, Item, update_of
from rankstream.events.action_event import Rejected
from rankstream.events.arrivals import LogError
from rankstream.events.files import files_at, type_by_ending
from rankstream.events.readers.dates import AUTO
from rankstream.events.readers.numbers import amount, currency_of
from rankstream.events.readers.rows import PROBLEM, Row, empty_file, open_rows, plain_id
from rankstream.events.readers.times import SAMPLE_ROWS, TIME_UNITS, time_ms, told_unit
from rankstream.events.skipped import Skipped, Where, shown
from rankstream.features.ids import HASHED, Id

FIELDS = Item.__struct_fields__
SEPARATOR = ">"  # between the names of a category's path in a text
COLLECTIONS_SEPARATOR = "|"
TRUE = ("1", "true", "yes", "t", "y")
REPEATED = "id: repeated, the last row counts"
OTHER_CURRENCY = "currency: another than the catalogue's, the price is left out"
MAX_SKIPPED = 0.5  # share of rows; a file of which more are skipped is refused


@dataclass(frozen=True)
class ItemOptions:
    """How a file of items is to be read, where it does not say it itself."""

    # Field of ``FIELDS`` -> the column that holds it; of a category also several, the widest first: a>b>c.
    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)  # field -> its value in all rows
    time_unit: str = AUTO
    dates: str = AUTO  # whether the day or the month comes first where the year does not
    delimiter: str | None = None  # of text; told by its first lines
    heading: tuple[str, ...] | None = None  # names of the columns of text without a heading
    separator: str = SEPARATOR
    currency: str | None = None  # of the catalogue; prices in others are left out
    max_skipped: float = MAX_SKIPPED

    def check(self) -> None:
        """Raise ``LogError`` for what is no field and no time unit."""
        for name in (*self.columns, *self.constants):
            if name not in FIELDS:
                raise LogError(f"{name} is no field of an item; it has {', '.join(FIELDS)}")
        if self.time_unit not in TIME_UNITS:
            raise LogError(f"the time unit {self.time_unit!r} is not known; it is one of {', '.join(TIME_UNITS)}")


@dataclass(frozen=True)
class ReadItems:
    """What a file of items holds."""

    catalogue: Catalogue
    rows: int
    gone: int  # rows that say that their item is
    skipped: Skipped
    notes: tuple[str, ...]


def read_items(path: Path, options: ItemOptions, as_of_ms: int) -> ReadItems:
    """Read a file, a folder or a pattern of files of items, as known at ``as_of_ms``. Raises ``LogError``."""
    options.check()
    items: dict[int, Item | None] = {}
    skipped, notes, rows = Skipped(), dict[str, None](), 0
    files = files_at(path).files
    for file in files:
        reader = _Reader(file.path, options, as_of_ms, skipped)
        notes |= dict.fromkeys(reader.notes)
        for number, row in enumerate(reader.rows, start=1):
            rows += 1
            reader.take(row, number, items)
    if rows and skipped.exceeds(options.max_skipped, rows - skipped.total()):
        raise LogError(skipped.refusal(str(path), rows - skipped.total()))
    kept = {key: item for key, item in items.items() if item is not None}
    if not kept:
        raise LogError(f"{path} holds no item" + (f": of {skipped.reasons()}" if skipped else ""))
    if all(type_by_ending(file.path) == "text" for file in files) and all(key < HASHED for key in kept):
        kept = {key: msgspec.structs.replace(item, id=key) for key, item in kept.items()}  # as logs of text have them
    currency = _one_currency(kept, options.currency, path, skipped)
    catalogue = Catalogue.empty(as_of_ms, currency).changed(dict(kept), as_of_ms)
    return ReadItems(catalogue, rows, len(items) - len(kept), skipped, tuple(notes))


def _one_currency(items: dict[int, Item], currency: str | None, path: Path, skipped: Skipped) -> str | None:
    """Return the currency of all prices; prices of others than the one given are left out. Raises ``LogError``."""
    found = Counter(item.currency for item in items.values() if item.price is not None and item.currency)
    if currency is None:
        if len(found) > 1:
            listed = ", ".join(f"{count:,} in {name}" for name, count in found.most_common())
            raise LogError(
                f"the prices in {path} are of several currencies ({listed}), which can't be compared; choose one with "
                "--currency, and the items of the others go without a price"
            )
        return next(iter(found), None)
    for key, item in items.items():
        if item.price is not None and item.currency not in (None, currency):
            items[key] = msgspec.structs.replace(item, price=None, currency=None)
            skipped.ignore(OTHER_CURRENCY, f"{item.id} costs {item.price:g} {item.currency}")
    return currency


class _Reader:
    """One file: its columns, and what becomes of its rows."""

    def __init__(self, path: Path, options: ItemOptions, as_of_ms: int, skipped: Skipped) -> None:
        source = open_rows(path, options.delimiter, options.heading)
        head = list(islice(source.rows, SAMPLE_ROWS))
        names = source.columns or tuple(dict.fromkeys(name for row in head for name in row if name != PROBLEM))
        if not head and not names:
            raise empty_file(path)
        self.path, self.options, self.as_of_ms, self.skipped = path, options, as_of_ms, skipped
        given = {**options.columns, **options.constants}
        found = guessed(names, given)
        self.columns = {name: name for name in FIELDS} | found | dict(options.columns)
        self.levels = _levels(self.columns["category"], names)
        self._check_columns(names)
        at = self.columns["created_at_ms"]
        times = {at: [row[at] for row in head if row.get(at) not in (None, "")]} if at in names else {}
        told = told_unit(times, str(path), options.time_unit, options.dates)
        self.unit, self.dates, self.rows = told.unit, told.dates, chain(head, source.rows)
        self.notes = (*self._notes(found, names), *told.notes)

    def _check_columns(self, names: tuple[str, ...]) -> None:
        """Raise ``LogError`` if a column that is named, or that of the ids, is not there."""
        named = [(name, column) for name, column in self.options.columns.items() if name != "category"]
        of_category = self.levels if "category" in self.options.columns else ()
        for name, column in (("id", self.columns["id"]), *named, *(("category", level) for level in of_category)):
            if name not in self.options.constants and column not in names:
                raise LogError(
                    f"{self.path} has no column {column}; it has {', '.join(names) or 'none'}; name the column of the "
                    f"field {name} with --map {name}=COLUMN"
                )

    def _notes(self, found: Mapping[str, str], names: tuple[str, ...]) -> Iterator[str]:
        if found:
            columns = ", ".join(f"{name} is {column}" for name, column in found.items())
            yield f"{self.path}: by the names of its columns, {columns}; --map says otherwise"
        if of_parents := parents(names):
            yield (
                f"{self.path}: {', '.join(of_parents)} is not read; categories are paths: write the names from the "
                "widest to the narrowest into one column"
            )

    def take(self, row: Row, number: int, items: dict[int, Item | None]) -> None:
        """Put a row's item to the others, or count why not."""
        where = Where(str(self.path), "row", number)
        try:
            item = self._item(row, where)
            update = update_of(item, self.as_of_ms)
            known = items.get(update.key)
            if known is not None and str(known.id) != str(item.id):
                raise Rejected(COLLISION, f"the ids {known.id!r} and {item.id!r} have one 64-bit key; rename one")
        except Rejected as why:
            self.skipped.reject(why, where)
            return
        if update.key in items:
            self.skipped.ignore(REPEATED, f"id is {shown(item.id)}", where)
        items[update.key] = update.item

    def _item(self, row: Row, where: Where) -> Item:
        """Return a row's item, without the fields that can't be read. Raises ``Rejected`` where the id is one."""
        if PROBLEM in row:
            raise Rejected("not-json" if row[PROBLEM].startswith("not JSON") else "schema", row[PROBLEM], "a row")
        fields: dict[str, Any] = {}
        for name in FIELDS:
            raw = self.options.constants.get(name, self._raw(row, name))
            if raw is None or raw == "" or raw != raw:
                continue
            try:
                fields[name] = msgspec.convert(self._plain(name, raw), _TYPES[name], strict=False)
                if name == "created_at_ms":
                    update_of(Item("", created_at_ms=fields[name]), self.as_of_ms)
            except (*UNCONVERTIBLE, Rejected) as exc:
                fields.pop(name, None)
                if name == "id":
                    raise Rejected("schema", f"{self.columns[name]} is {shown(raw)}: {exc}", "id is wrong") from None
                self.skipped.ignore(f"{name}: can't be read, taken as none", f"{name} is {shown(raw)}: {exc}", where)
        if "price" in fields and "currency" not in fields and (told := _named_currency(self._raw(row, "price"))):
            fields["currency"] = told
        if "id" not in fields:
            raise Rejected("schema", f"{self.columns['id']} is empty", "no id")
        return Item(**fields)

    def _raw(self, row: Row, name: str) -> Any:
        """Return what a row holds of a field."""
        if name == "category" and len(self.levels) > 1:
            levels = [row.get(level) for level in self.levels]
            return [str(level) for level in takewhile(lambda level: level not in (None, ""), levels)] or None
        return row.get(self.columns[name])

    def _plain(self, name: str, raw: Any) -> Any:
        """Return a value as the wire has it. Raises ``ValueError``."""
        if name in ("id", "group"):
            return plain_id(raw, name)
        if name == "created_at_ms":
            unit = "ms" if name in self.options.constants else self.unit
            return time_ms(raw, unit, self.columns[name], self.dates)
        if name == "category":
            return [one for one in map(_category_name, _parts(raw, self.options.separator)) if one]
        if name == "collections":
            return [plain_id(one, name) for one in _parts(raw, COLLECTIONS_SEPARATOR)]
        if name == "price":
            return amount(raw) if isinstance(raw, str) else float(raw)
        if name == "gone":
            return str(raw).strip().lower() in TRUE
        return str(raw).strip()[: _LONGEST.get(name)] if name != "currency" else str(raw).strip().upper()


UNCONVERTIBLE = (ValueError, TypeError, OverflowError, RecursionError)  # what a value of another kind raises
_TYPES = {one.name: one.type for one in msgspec.structs.fields(Item)}
_LONGEST = {"title": 1_000, "text": 50_000}  # characters; what is longer is cut


def _levels(column: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns that a category is in, the widest first."""
    return (column,) if column in names else tuple(level.strip() for level in column.split(SEPARATOR))


def _category_name(raw: Any) -> str:
    """Return a level's name; a whole number is one, too. Raises ``ValueError`` for all else."""
    if not isinstance(raw, str | int):
        raise ValueError(f"{shown(raw)} is no name of a category")
    return str(raw).strip()


def _parts(raw: Any, separator: str) -> list[Any]:
    """Return the parts of a list, of JSON's list in a text, or of a text with a separator."""
    if isinstance(raw, str):
        if raw.lstrip().startswith("["):
            found: list[Any] = msgspec.json.decode(raw, type=list[Id])
            return found
        return raw.split(separator)
    return list(raw) if isinstance(raw, list | tuple) else [raw]


def _named_currency(price: Any) -> str | None:
    """Return the currency that a price names itself."""
    return currency_of(price) if isinstance(price, str) else None
