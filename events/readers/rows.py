"""Files of rows, read a row at a time: Parquet, CSV, JSON lines.

::

    uid,item,rating,when               --map user_id=uid --map item_id=item --map timestamp_ms=when
    7,i9,5,1700000000         --->     --set action=click --time-unit s

    {"user_id": "7", "item_id": "i9", "action": "click", "timestamp_ms": 1700000000000}

``rankstream produce`` sends what is read here; ``columns.py`` reads the same files for training and replay, in batches.
"""

import csv
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from io import TextIOWrapper
from itertools import islice
from math import isnan
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from rankstream.events.arrivals import LogError
from rankstream.events.guess import rating_column
from rankstream.events.readers.clocks import JoinedTime
from rankstream.events.readers.dates import AUTO
from rankstream.events.readers.nested import lifted
from rankstream.events.readers.not_json import remedy
from rankstream.events.readers.numbers import amount
from rankstream.events.readers.text import (
    Layout,
    check_names,
    layout_of,
    split_rows,
    why_no_heading,
)
from rankstream.events.readers.times import TIMES, time_ms
from rankstream.events.readers.unpacked import NOT_WHOLE, not_utf8, open_bytes, why_not_utf8
from rankstream.events.skipped import listed, shown
from rankstream.features.decoding import TOO_DEEP, UNREADABLE, is_too_deep

Row = dict[str, Any]
STDIN = Path("-")
BATCH = 1_000  # rows of a Parquet file read at once: as many as the unit of times is told from
IDS = ("user_id", "item_id", "list_id", "collection_id")
# What programs write into tables where there is nothing: PostgreSQL's COPY and MySQL \N, others NULL, R and pandas NA
# and nan, a browser undefined, a web server -, Weka ?. As a user's id it would be the one user who did half of the log.
NOTHING = frozenset((
    r"\N", "NULL", "null", "Null", "(null)", "<null>", "[null]", "nil", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN",
    "nan", "NaT", "None", "none", "NONE", "(none)", "undefined", "(not set)", "(blank)", "-", "--", "?",
))  # fmt: skip
DIFFERENT = ("user_id", "item_id", "timestamp_ms")  # fields of which all rows can't have one value
NEVER_NOTHING = ("action", "surface")  # fields that are names, which may be any
MAX_WHOLE_FLOAT = 2**53  # from here on, a float may stand for several whole numbers
COLUMN = "COLUMN"  # stands for a name in a sentence
PROBLEM = "\0"  # the name under which an unreadable row holds the reason; no column is called so
RAGGED = "the row has more or fewer fields than the heading"

_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True)
class RowFile:
    """Rows as they lie in a file, and its columns."""

    rows: Iterator[Row]
    columns: tuple[str, ...] | None  # None where each row has its own


def open_rows(
    path: Path,
    delimiter: str | None = None,
    heading: Sequence[str] | None = None,
    paths: Collection[str] = (),
) -> RowFile:
    """Open a file by its ending; ``-`` is standard input, JSON lines. Raises ``LogError``.

    Of text, ``delimiter`` is told by its first lines and ``heading`` names the columns where its first row doesn't. Of
    JSON lines, the fields at ``paths`` are brought on top.
    """
    if path == STDIN:
        return RowFile((lifted(row, paths) for row in json_rows(sys.stdin.buffer)), None)
    if not path.is_file():
        raise LogError(f"there is no file {path}; name a .parquet, .csv or .jsonl file, or - for standard input")
    layout = layout_of(path, delimiter, heading)
    if layout.type == "json":
        return RowFile((lifted(row, paths) for row in rows_of(layout)), None)
    if layout.first_rows and not layout.columns:
        raise why_no_heading(layout)
    check_names(layout)
    return RowFile(rows_of(layout), layout.columns)


def empty_file(path: Path) -> LogError:
    """Return the refusal of a file that holds nothing at all."""
    return LogError(f"{path} is empty: it has no rows, and no columns; give another file")


def rows_of(layout: Layout, columns: Collection[str] | None = None) -> Iterator[Row]:
    """Yield a file's rows, of these columns or all; one that can't be read holds the reason under ``PROBLEM``.

    Raises ``LogError`` where the file itself can't be read on, or a text is no UTF-8.
    """
    if layout.type == "parquet":
        return _parquet_rows(layout, columns)
    return _text_rows(layout, columns) if layout.type == "text" else _json_file_rows(layout)


def _parts_of(layout: Layout, columns: Collection[str] | None) -> JoinedTime | None:
    """Return the parts of the time, where it is read."""
    return layout.parts if columns is None or (layout.parts and layout.parts.first in columns) else None


def _parquet_rows(layout: Layout, columns: Collection[str] | None) -> Iterator[Row]:
    from pyarrow import ArrowException, parquet

    try:
        from rankstream.events.readers.arrow_batch import rows_of_batch
        from rankstream.events.readers.made_columns import MadeColumns

        made = MadeColumns(layout, layout.columns if columns is None else tuple(columns))
        with parquet.ParquetFile(layout.path) as file:
            for batch in file.iter_batches(batch_size=BATCH, columns=made.read):
                batch.validate(full=True)
                yield from rows_of_batch(made.of(batch))
    except (ArrowException, OSError, UnicodeDecodeError) as exc:
        raise LogError(f"{layout.path} can't be read on ({' '.join(str(exc).split())}); give a whole file") from exc


def _text_rows(layout: Layout, columns: Collection[str] | None) -> Iterator[Row]:
    parts = _parts_of(layout, columns)
    read = None if columns is None else {*columns, *(parts.columns if parts else ())}
    wanted = [(at, name) for at, name in enumerate(layout.columns) if read is None or name in read]
    width = len(layout.columns)
    try:
        with TextIOWrapper(open_bytes(layout.path), "utf-8", "surrogateescape", newline="") as lines:
            rows = split_rows(islice(lines, layout.above, None), layout.delimiter, layout.quoted)
            for fields in islice(rows, layout.skip, None):
                if len(fields) == width:
                    row = {name: fields[at] for at, name in wanted}
                    if layout.padded:
                        row = {name: field.strip(" ") for name, field in row.items()}
                    if any(map(not_utf8, row.values())):
                        raise LogError(why_not_utf8(layout.path) or f"{layout.path} is no UTF-8")
                    yield row if parts is None else parts.joined(row)
                elif fields:
                    yield {PROBLEM: f"{RAGGED}: {shown(layout.delimiter.join(fields))}"}
    except (*NOT_WHOLE, csv.Error) as exc:
        raise LogError(f"{layout.path} can't be read on ({exc}); give a whole file of text") from exc


def _json_file_rows(layout: Layout) -> Iterator[Row]:
    try:
        with open_bytes(layout.path) as lines:
            yield from map(layout.whole, json_rows(lines))
    except NOT_WHOLE as exc:
        raise LogError(f"{layout.path} can't be read on ({exc}); give a whole file of JSON lines") from exc


def json_rows(lines: Iterable[bytes]) -> Iterator[Row]:
    """Yield the objects of JSON lines; for a line that is none, a row that holds the reason under ``PROBLEM``."""
    for line in lines:
        if line.strip():
            yield json_row(line)


def json_row(line: bytes) -> Row:
    """Return the object of one line, as ``json_rows`` does."""
    if is_too_deep(line):
        return {PROBLEM: TOO_DEEP}
    try:
        row = _decode(line)
    except UNREADABLE as exc:
        return {PROBLEM: f"not JSON: {exc}: {shown(line.decode(errors='replace'))}{remedy(line)}"}
    if isinstance(row, dict) and PROBLEM in row:
        return {PROBLEM: "not a JSON object of named fields: a name is the character NUL"}
    of_list = "; write the values of such lists as columns: jq -r '@csv'" if isinstance(row, list) else ""
    return row if isinstance(row, dict) else {PROBLEM: f"not a JSON object: {shown(row)}{of_list}"}


@dataclass(frozen=True)
class Shape:
    """How a row of a file becomes the fields of a record."""

    sources: Mapping[str, str] = field(default_factory=dict)  # field -> column
    constants: Mapping[str, str] = field(default_factory=dict)  # field -> value for all rows
    time_unit: str = "ms"
    dates: str = AUTO  # whether the day or the month comes first, of ``dates.DATE_ORDERS``
    nothing: frozenset[str] = frozenset()  # of tables, which have texts alone: those that stand for no value

    def column(self, name: str) -> str:
        """Return the column that holds a field."""
        return self.sources.get(name, name)

    def unit_of(self, name: str) -> str:
        """Return the unit of a time: that of the file's columns, but ms for a constant."""
        return "ms" if name in self.constants else self.time_unit

    def check(
        self,
        path: Path,
        columns: Collection[str] | None,
        needed: Collection[str],
        perhaps: Mapping[str, str] | None = None,
        times: Sequence[str] = (),
    ) -> None:
        """Raise ``LogError`` if a column that is needed or named is not in the file.

        ``perhaps`` are columns that may hold a field by other signs than their names, for the refusal to propose, and
        ``times`` those that hold times.
        """
        if columns is None:
            return
        if not columns:
            raise empty_file(path)
        named = dict.fromkeys((*self.sources, *needed))
        missing = [name for name in named if name not in self.constants and self.column(name) not in columns]
        if missing:
            lacks = ", ".join(map(self.column, missing))
            how = _remedy(missing, columns, perhaps or {}, times)
            raise LogError(f"{path} has no column {lacks}; it has {listed(list(columns))}; {how}")

    def apply(self, row: Row, fields: Collection[str]) -> Row:
        """Pick the fields from a row; empty ones are left out. Raises ``ValueError``."""
        if PROBLEM in row:
            raise ValueError(row[PROBLEM])
        picked = {name: row.get(self.column(name)) for name in fields}
        picked |= self.constants
        shaped = {name: value for name, value in picked.items() if not self._is_missing(name, value)}
        for name in IDS:
            if name in shaped:
                shaped[name] = plain_id(shaped[name], name)
        if self.nothing and isinstance(value := shaped.get("value"), str) and "," in value:
            with suppress(ValueError):  # what it is instead is said where it is refused
                shaped["value"] = amount(value)
        for name in NEVER_NOTHING:
            if self.nothing and type(shaped.get(name)) is int:  # tables have numbers for the names of actions, too
                shaped[name] = str(shaped[name])
        for name in TIMES:
            if name in shaped:
                shaped[name] = time_ms(shaped[name], self.unit_of(name), self.column(name), self.dates)
        return shaped

    def _is_missing(self, name: str, value: Any) -> bool:
        if value is None or value == "" or (isinstance(value, float) and isnan(value)):  # NaN: missing, in tables
            return True
        if not self.nothing or not isinstance(value, str) or name in (*self.constants, *NEVER_NOTHING):
            return False
        return value in self.nothing or value.isspace()


def _remedy(missing: Sequence[str], columns: Collection[str], perhaps: Mapping[str, str], times: Sequence[str]) -> str:
    """Return how to name the columns of fields that are not found, of all at once."""
    others = [name for name in missing if name != "action"]
    parts = []
    if others:
        one = "another one" if len(others) == 1 else "others"
        flags = [f"--map {name}={perhaps.get(name, COLUMN)}" for name in others]
        parts.append(f"name {one} with {' '.join(flags)}")
    if alike := [name for name in others if name not in DIFFERENT]:
        parts.append(f"or give all rows one value with --set {alike[0]}=VALUE")
    if "action" in missing:
        which = "the actions'" if others else "it"
        parts.append(
            f"{'and ' * bool(others)}name {which} with --map action={perhaps.get('action', COLUMN)}, or, if all rows "
            "are of one kind, say which with --set action=view"
        )
    every = ", ".join(parts)
    if "timestamp_ms" in others and len(times) > 1:
        every = f"{every}; {', '.join(times[:-1])} and {times[-1]} hold times"
    if others == ["timestamp_ms"] and not times and not perhaps:
        every = f"{every}; a log without times does not say what came next, so nothing can be learned of one"
    if "action" not in missing or (ratings := rating_column(columns)) is None:
        return every
    return f"{every}; if {ratings} holds 1 to 5 stars, --format movielens makes actions of them"


def plain_id(value: Any, name: str) -> Any:
    """Return an id as the wire has it, a text or a whole number; what can be neither is returned as it came.

    Tables hold whole numbers as floats where some are missing, or as decimals, and texts as bytes. Raises
    ``ValueError`` for a float that is too large to be one whole number.
    """
    if isinstance(value, float) and abs(value) >= MAX_WHOLE_FLOAT:
        raise ValueError(f"{name} is the float {value!r}, which may stand for several ids; write ids as texts")
    if isinstance(value, float | Decimal) and value == value // 1:
        return int(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes):
        with suppress(UnicodeDecodeError):
            return value.decode()
    return value
