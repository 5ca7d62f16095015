"""Files of rows, read a row at a time: Parquet, CSV, JSON lines.

::

    uid,item,rating,when               --map user_id=uid --map item_id=item --map timestamp_ms=when
    7,i9,5,1700000000         --->     --set action=click --time-unit s

    {"user_id": "7", "item_id": "i9", "action": "click", "timestamp_ms": 1700000000000}

``rankstream produce`` sends what is read here; ``columns.py`` reads the same files for training and replay, in batches.
"""

import csv
import gzip
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from rankstream.events.arrivals import LogError

Row = dict[str, Any]
STDIN = Path("-")
BATCH = 10_000  # rows of a Parquet file read at once
DELIMITERS = {"csv": ",", "tsv": "\t"}
FILE_TYPES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".inter": "tsv",  # RecBole's, with columns like user_id:token
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
}
NS_PER_MS = 1_000_000
TIME_UNITS = {"s": 1_000_000_000, "ms": NS_PER_MS, "us": 1000, "ns": 1}  # of a unit, in nanoseconds
TIMES = ("timestamp_ms", "arrived_ms")  # fields that the time unit is of
MANY = 20  # columns named in a sentence
PROBLEM = "\0"  # the name under which an unreadable row holds the reason; no column is called so
RAGGED = "the row has more or fewer fields than the heading"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True)
class RowFile:
    """Rows as they lie in a file, and how many there are where the file has a count."""

    rows: Iterator[Row]
    columns: tuple[str, ...] | None  # None where each row has its own
    count: int | None


def open_rows(path: Path) -> RowFile:
    """Open a file by its ending; ``-`` is standard input, JSON lines. Raises ``LogError``."""
    if path == STDIN:
        return RowFile(json_rows(sys.stdin.buffer), None, None)
    if not path.is_file():
        raise LogError(f"there is no file {path}; name a .parquet, .csv or .jsonl file, or - for standard input")
    kind = file_type(path)
    if kind == "parquet":
        return _parquet(path)
    if kind == "json":
        return RowFile(json_rows(open_bytes(path)), None, None)
    return _csv(path)


def file_type(path: Path) -> str:
    """Return a file's type by its ending: parquet, csv, tsv or json. Raises ``LogError`` for others."""
    ending = path.suffix.lower()
    if ending == ".gz" and FILE_TYPES.get(Path(path.stem).suffix.lower()) == "json":
        return "json"
    if ending not in FILE_TYPES:
        raise LogError(f"{path} ends with {ending or 'nothing'}; .parquet, .csv, .tsv and .jsonl can be read")
    return FILE_TYPES[ending]


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file of text for reading, unpacked if it is packed."""
    return cast(IO[bytes], gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


def _parquet(path: Path) -> RowFile:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as exc:
        raise LogError('reading Parquet needs pyarrow: pip install "rankstream[train]"') from exc
    try:
        file = parquet.ParquetFile(path)
    except ArrowException as exc:
        raise LogError(f"{path} can't be read as Parquet: {' '.join(str(exc).split())}") from exc
    batches = file.iter_batches(batch_size=BATCH)
    rows = (row for batch in batches for row in batch.to_pylist())
    return RowFile(rows, tuple(file.schema_arrow.names), file.metadata.num_rows)


def csv_heading(path: Path) -> tuple[str, ...]:
    """Return the column names of a CSV or TSV file. Raises ``LogError``."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return tuple(next(csv.reader(file, delimiter=DELIMITERS[file_type(path)]), ()))
    except (UnicodeDecodeError, csv.Error) as exc:
        raise LogError(f"{path} can't be read as text ({exc}); wanted UTF-8, a heading and rows") from exc


def _csv(path: Path) -> RowFile:
    columns = csv_heading(path)
    return RowFile(_csv_rows(path, columns), columns, None)


def _csv_rows(path: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for line in islice(csv.reader(file, delimiter=DELIMITERS[file_type(path)]), 1, None):
                if len(line) == len(columns):
                    yield dict(zip(columns, line, strict=True))
                elif line:
                    yield {PROBLEM: RAGGED}
    except (UnicodeDecodeError, csv.Error) as exc:
        raise LogError(f"{path} can't be read on ({exc}); wanted UTF-8") from exc


def json_rows(lines: IO[bytes]) -> Iterator[Row]:
    """Yield the objects of JSON lines; for a line that is none, a row that holds the reason under ``PROBLEM``."""
    for line in lines:
        if line.strip():
            yield json_row(line)


def json_row(line: bytes) -> Row:
    """Return the object of one line, as ``json_rows`` does."""
    try:
        row = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        return {PROBLEM: f"not JSON: {_without_position(exc)}"}
    return row if isinstance(row, dict) else {PROBLEM: "not a JSON object"}


def _without_position(exc: Exception) -> str:
    """Return the reason without the byte that it names: equal reasons are counted together."""
    return re.sub(r" \(byte \d+\)|in position [\d-]+", "", str(exc))


@dataclass(frozen=True)
class Shape:
    """How a row of a file becomes the fields of a record."""

    sources: Mapping[str, str] = field(default_factory=dict)  # field -> column
    constants: Mapping[str, str] = field(default_factory=dict)  # field -> value for all rows
    time_unit: str = "ms"

    def column(self, name: str) -> str:
        """Return the column that holds a field."""
        return self.sources.get(name, name)

    def unit_of(self, name: str) -> str:
        """Return the unit of a time: that of the file's columns, but ms for a constant."""
        return "ms" if name in self.constants else self.time_unit

    def check(self, path: Path, columns: Collection[str] | None, needed: Collection[str]) -> None:
        """Raise ``LogError`` if a column that is needed or named is not in the file."""
        if columns is None:
            return
        for name in (*self.sources, *needed):
            column = self.column(name)
            if name not in self.constants and column not in columns:
                raise LogError(
                    f"{path} has no column {column}; it has {_listed(list(columns))}; "
                    f"name another one with --map {name}=COLUMN, or give all rows one value with --set {name}=VALUE"
                )

    def apply(self, row: Row, fields: Collection[str]) -> Row:
        """Pick the fields from a row; empty ones are left out. Raises ``ValueError``."""
        if PROBLEM in row:
            raise ValueError(row[PROBLEM])
        picked = {name: row.get(self.column(name)) for name in fields}
        picked |= self.constants
        shaped = {name: value for name, value in picked.items() if not _is_missing(value)}
        for name in TIMES:
            if name in shaped and name not in self.constants:
                shaped[name] = milliseconds(shaped[name], self.time_unit, name)
        return shaped


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:MANY]) or "none"
    return f"{shown} and {len(names) - MANY} more" if len(names) > MANY else shown


def milliseconds(raw: Any, unit: str, name: str = "timestamp_ms") -> int:
    """Return a time in ms since 1970: whole numbers are cut, fractions are rounded. Raises ``ValueError``."""
    if isinstance(raw, datetime):
        return ((raw if raw.tzinfo else raw.replace(tzinfo=UTC)) - EPOCH) // timedelta(milliseconds=1)
    try:
        if isinstance(raw, float):
            return round(raw * (TIME_UNITS[unit] / NS_PER_MS))
        return int(raw) * TIME_UNITS[unit] // NS_PER_MS
    except (TypeError, ValueError, OverflowError):
        if isinstance(raw, str) and _is_fraction(raw):
            return milliseconds(float(raw), unit, name)
        raise ValueError(f"{name} is {raw!r}; wanted a whole number") from None


def _is_fraction(text: str) -> bool:
    try:
        return isfinite(float(text))
    except ValueError:
        return False


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and not isfinite(value))  # NaN: missing, in tables
