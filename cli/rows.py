"""Files of rows, read a row at a time: Parquet, CSV, JSON lines.

::

    uid,item,rating,when               --map user_id=uid --map item_id=item --map timestamp_ms=when
    7,i9,5,1700000000         --->     --set action=click --time-unit s

    {"user_id": "7", "item_id": "i9", "action": "click", "timestamp_ms": 1700000000000}
"""

import csv
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isnan
from pathlib import Path
from typing import IO, Any

import msgspec

from cli.errors import Refusal

Row = dict[str, Any]
STDIN = Path("-")
BATCH = 10_000
PER_MS = {"s": 0.001, "ms": 1, "us": 1000, "ns": 1_000_000}  # units of time in a millisecond


@dataclass(frozen=True)
class RowFile:
    """Rows as they lie in a file, and how many there are where the file says so."""

    rows: Iterator[Row]
    columns: tuple[str, ...] | None  # None where each row has its own
    count: int | None


def open_rows(path: Path) -> RowFile:
    """Open a file by its ending; ``-`` is standard input, JSON lines. Raises ``Refusal``."""
    if path == STDIN:
        return RowFile(_json_rows(sys.stdin.buffer), None, None)
    if not path.is_file():
        raise Refusal(f"there is no file {path}; name a .parquet, .csv or .jsonl file, or - for standard input")
    ending = path.suffix.lower()
    if ending in (".parquet", ".pq"):
        return _parquet(path)
    if ending in (".csv", ".tsv", ".inter"):  # the last: RecBole's, with columns like user_id:token
        return _csv(path, "," if ending == ".csv" else "\t")
    if ending in (".jsonl", ".ndjson", ".json"):
        return RowFile(_json_rows(path.open("rb")), None, None)
    raise Refusal(f"{path} ends with {ending or 'nothing'}; .parquet, .csv, .tsv and .jsonl can be read")


def _parquet(path: Path) -> RowFile:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as exc:
        raise Refusal('reading Parquet needs pyarrow: pip install "rankstream[train]"') from exc
    try:
        file = parquet.ParquetFile(path)
    except ArrowException as exc:
        raise Refusal(f"{path} can't be read as Parquet: {' '.join(str(exc).split())}") from exc
    batches = file.iter_batches(batch_size=BATCH)
    rows = (row for batch in batches for row in batch.to_pylist())
    return RowFile(rows, tuple(file.schema_arrow.names), file.metadata.num_rows)


def _csv(path: Path, delimiter: str) -> RowFile:
    reader = csv.DictReader(path.open(newline="", encoding="utf-8-sig"), delimiter=delimiter)
    return RowFile((dict(row) for row in reader), tuple(reader.fieldnames or ()), None)


def _json_rows(lines: IO[bytes]) -> Iterator[Row]:
    decode = msgspec.json.Decoder().decode
    for line in lines:
        if line.strip():
            try:
                row = decode(line)
            except msgspec.DecodeError as exc:
                row = {"": f"not JSON: {exc}"}
            yield row if isinstance(row, dict) else {"": "not a JSON object"}


@dataclass(frozen=True)
class Shape:
    """How a row of a file becomes the fields of a record."""

    sources: Mapping[str, str]  # field -> column
    constants: Mapping[str, str]  # field -> value for all rows
    time_unit: str = "ms"

    def check(self, path: Path, columns: Collection[str] | None, needed: Collection[str]) -> None:
        """Raise ``Refusal`` if a column that is needed or named is not in the file."""
        if columns is None:
            return
        for field in (*self.sources, *needed):
            column = self.sources.get(field, field)
            if field not in self.constants and column not in columns:
                raise Refusal(
                    f"{path} has no column {column}; it has {', '.join(columns)}; "
                    f"say which one is {field} with --map {field}=COLUMN, or give all rows one with --set {field}=VALUE"
                )

    def apply(self, row: Row, fields: Collection[str]) -> Row:
        """Pick the fields from a row; empty ones are left out."""
        if "" in row:  # what the reader said instead of a row
            raise ValueError(row[""])
        picked = {field: row.get(self.sources.get(field, field)) for field in fields}
        picked |= self.constants
        shaped = {field: value for field, value in picked.items() if not _is_missing(value)}
        if "timestamp_ms" in shaped and "timestamp_ms" not in self.constants:
            shaped["timestamp_ms"] = self._milliseconds(shaped["timestamp_ms"])
        return shaped

    def _milliseconds(self, moment: Any) -> int:
        if isinstance(moment, datetime):
            return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
        try:
            return int(moment) if self.time_unit == "ms" else int(float(moment) / PER_MS[self.time_unit])
        except (TypeError, ValueError):
            raise ValueError(f"timestamp_ms is {moment!r}; wanted a whole number") from None


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and isnan(value))  # NaN: how tables say "none"
