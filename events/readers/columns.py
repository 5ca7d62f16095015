"""Parquet, delimited text and the JSON lines of public logs as batches of columns; ``arrow_batch.py`` packs them."""

import io
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from rankstream.events.arrivals import Arrivals, LogError
from rankstream.events.files import compression
from rankstream.events.public.batches import Translate, Translation
from rankstream.events.readers.arrow_batch import (
    Batch,
    arrivals_of_batch,
    given_column,
    is_text,
    plain,
    rows_of_batch,
)
from rankstream.events.readers.id_columns import with_plain_ids
from rankstream.events.readers.json_lines import BATCH_ROWS, Reading, problem
from rankstream.events.readers.made_columns import MadeColumns, struct_paths
from rankstream.events.readers.rows import PROBLEM, RAGGED, Row, Shape, rows_of
from rankstream.events.readers.text import MAGIC_BYTES, SUBSTITUTE, Layout, what_else
from rankstream.events.readers.unpacked import NOT_WHOLE, open_bytes, why_not_utf8
from rankstream.events.skipped import Skipped, shown
from rankstream.features.actions import Vocabulary
from rankstream.features.decoding import UNREADABLE

CSV_BLOCK = 4 << 20  # bytes
UNREADABLE_TABLE = (pa.ArrowException, OSError, UnicodeDecodeError)  # what damage in a Parquet file raises
MAYBE_NO_UTF8 = ("invalid UTF8", "CSV parse error")  # the latter of a ragged row, which pyarrow can't hand to us then
VOCABULARY_KEY = b"rankstream.vocabulary"  # of the metadata of files that ``EventLog.write_parquet`` wrote


def as_it_is(batch: Batch) -> Batch:
    """Return a batch unchanged: its columns are the wire's, or are mapped to them."""
    return batch


@dataclass(frozen=True)
class ColumnReader:
    """Reads a file of columns; ``translation`` makes the wire's columns of a public log's own."""

    layout: Layout
    columns: tuple[str, ...]  # those that are read
    translation: Translation | None = None
    parse: Callable[[bytes], Iterable[Row]] | None = None  # of the lines of a file that are not read as columns

    def read(self, reading: Reading) -> Iterator[Arrivals]:
        """Yield the arrivals of the rows."""
        translate, reading = self._translate(reading.skipped), reading.of(self.layout.path)
        ragged: list[int] = []  # rows that are in no batch, and come before or after the next one
        last = 0
        for batch in self.batches(reading, ragged):
            numbers, last = _numbers(batch.num_rows, last, ragged)
            wire = with_plain_ids(translate(batch), reading.shape)
            arrivals = arrivals_of_batch(wire, reading, numbers if wire.num_rows == batch.num_rows else None)
            if len(arrivals):
                yield arrivals

    def names(self, shape: Shape) -> tuple[set[str], set[str]]:
        """Return the names of actions and of surfaces that occur."""
        found: tuple[set[str], set[str]] = (set(), set())
        translate = self._translate(Skipped())
        for batch in self.batches(None):
            wire = translate(batch)
            for name, names in zip(("action", "surface"), found, strict=True):
                given = given_column(wire, shape, name)
                if given is not None and is_text(given.type):
                    names.update(filter(None, pc.unique(plain(given)).to_pylist()))
        return found

    def rows(self) -> Generator[Row, None, None]:
        """Yield the rows one by one, as a plain reader does."""
        if self.translation is None:
            yield from rows_of(self.layout, self.columns)
            return
        translate = self._translate(Skipped())
        for batch in self.batches(None):
            yield from rows_of_batch(translate(batch))

    def batches(self, reading: Reading | None, ragged: list[int] | None = None) -> Iterator[Batch]:
        """Yield the rows in batches of a bounded size; the numbers of others in the file are added to ``ragged``."""

        def count(why: str, number: int) -> None:
            if reading is not None:
                reading.skipped.reject(problem(why), reading.where(number))
            if ragged is not None:
                ragged.append(number)

        if self.parse is not None:
            batches = self._lines(self.parse, count)
        else:
            batches = self._parquet() if self.layout.type == "parquet" else self._text(count)
        path = self.layout.path
        try:
            for batch in batches:
                for at in range(0, batch.num_rows, BATCH_ROWS):
                    yield batch.slice(at, BATCH_ROWS)
        except (*UNREADABLE_TABLE, *NOT_WHOLE) as exc:
            if any(sign in str(exc) for sign in MAYBE_NO_UTF8) and (why := why_not_utf8(path)):
                raise LogError(why) from exc
            raise LogError(f"{path} can't be read on ({' '.join(str(exc).split())}); give a whole file") from exc

    def _translate(self, skipped: Skipped) -> Translate:
        return as_it_is if self.translation is None else self.translation(skipped)

    @property
    def _made(self) -> MadeColumns:
        return MadeColumns(self.layout, self.columns)

    def _parquet(self) -> Iterator[Batch]:
        made = self._made
        # Buffered, not read ahead: a row group may be as large as the whole log.
        with parquet.ParquetFile(self.layout.path, pre_buffer=False, buffer_size=1 << 20) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=made.read, use_threads=False):
                batch.validate(full=True)  # pyarrow takes any bytes for a text, until somebody reads it
                yield made.of(batch)

    def _text(self, count: Callable[[str, int], None]) -> Iterator[Batch]:
        def ragged(row: Any) -> str:
            count(f"{RAGGED}: {shown(row.text)}", row.number - self.layout.skip - self.layout.above)
            return "skip"

        if not self.layout.columns:
            return
        made = self._made
        with open_text(self.layout, made.read, ragged) as batches:
            for batch in batches:
                yield made.of(_without_padding(batch) if self.layout.padded else batch)

    def _lines(self, parse: Callable[[bytes], Iterable[Row]], count: Callable[[str, int], None]) -> Iterator[Batch]:
        with open_bytes(self.layout.path) as lines:
            rows = self._sound(
                ((row, at) for at, line in enumerate(lines, 1) if line.strip() for row in parse(line)), count
            )
            while block := list(islice(rows, BATCH_ROWS)):
                columns = [_column(list(values)) for values in zip(*block, strict=True)]
                yield pa.RecordBatch.from_arrays(columns, list(self.columns))

    def _sound(self, rows: Iterable[tuple[Row, int]], count: Callable[[str, int], None]) -> Iterator[tuple[Any, ...]]:
        """Yield what is read of each row, without the texts of reviews and the like, and count what can't be read."""
        for row, number in rows:
            if PROBLEM in row:
                count(row[PROBLEM], number)
            else:
                yield tuple(row.get(name) for name in self.columns)


def _numbers(count: int, last: int, ragged: list[int]) -> tuple[npt.NDArray[np.int64], int]:
    """Return the numbers of ``count`` rows in their file after number ``last``, and the last of them.

    Numbers of ``ragged`` rows are passed over, and taken out of that list.
    """
    numbers = np.arange(last + 1, last + 1 + count, dtype=np.int64)
    passed = np.searchsorted(np.array(ragged, np.int64) - np.arange(len(ragged)), numbers, side="right")
    if count:
        del ragged[: int(passed[-1])]
        last = int(numbers[-1] + passed[-1])
    return numbers + passed, last


def _column(values: list[Any]) -> Any:
    """Return values as an Arrow column; as texts where they are of several types."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _without_padding(batch: Batch) -> Batch:
    """Return a batch of texts without the spaces around them."""
    columns = [pc.utf8_trim(column, characters=" ") for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, batch.schema.names)


def open_text(layout: Layout, columns: Collection[str], ragged: Callable[[Any], str]) -> Any:
    """Open delimited text as a stream of batches, all columns as text: an id of 007 must stay one."""
    source: Any
    if len(layout.delimiter) > 1:
        source, delimiter = Substituted(layout), SUBSTITUTE
    else:
        source = pa.input_stream(str(layout.path), compression=compression(layout.path) or None)
        delimiter = layout.delimiter
    return arrow_csv.open_csv(
        source,
        arrow_csv.ReadOptions(
            block_size=CSV_BLOCK,
            use_threads=False,
            column_names=list(layout.columns),
            skip_rows=layout.above,
            skip_rows_after_names=layout.skip,
        ),
        arrow_csv.ParseOptions(
            delimiter=delimiter,
            quote_char='"' if layout.quoted else False,
            newlines_in_values=layout.quoted,
            invalid_row_handler=ragged,
        ),
        arrow_csv.ConvertOptions(
            column_types={name: pa.string() for name in columns},
            include_columns=list(columns),
            strings_can_be_null=False,
        ),
    )


class Substituted(io.RawIOBase):
    """A file of text with one character for its delimiter of two."""

    def __init__(self, layout: Layout) -> None:
        self._file, self._delimiter, self._rest = open_bytes(layout.path), layout.delimiter.encode(), b""

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return at most ``size`` bytes, none at the end."""
        block = self._file.read(CSV_BLOCK if size < 0 else max(size - len(self._rest), 1))
        data, self._rest = (self._rest + block).replace(self._delimiter, SUBSTITUTE.encode()), b""
        if block and data.endswith(self._delimiter[:1]):  # the delimiter may go on in the next block
            data, self._rest = data[:-1], data[-1:]
        return data if data or not block else self.read(size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def parquet_columns(path: Path) -> tuple[str, ...]:
    """Return the names of a Parquet file's columns. Raises ``LogError``."""
    try:
        return tuple(parquet.read_schema(path).names)
    except UNREADABLE_TABLE as exc:
        with path.open("rb") as file:
            begin = file.read(MAGIC_BYTES)
        if not begin.startswith(b"PAR1") and (other := what_else(path, begin)) is not None:
            raise LogError(f"{path} is no Parquet by what it holds, but {other}") from exc
        raise LogError(f"{path} can't be read as Parquet: {' '.join(str(exc).split())}; give a whole file") from exc


def parquet_paths(path: Path) -> tuple[str, ...]:
    """Return the paths of the fields within structures of a Parquet file that can be read."""
    return tuple(struct_paths(parquet.read_schema(path)))


def read_columns(path: Path, wanted: Sequence[str]) -> Mapping[str, npt.NDArray[Any]]:
    """Read these columns of a Parquet file that is no log. Raises ``LogError`` for a file that lacks one or is none."""
    if not path.is_file():
        raise LogError(f"there is no file {path}; give the path of the file")
    found = parquet_columns(path)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise LogError(
            f"{path} has no column {', '.join(missing)}; it has {', '.join(found)}; wanted {', '.join(wanted)}"
        )
    try:
        table = parquet.read_table(path, columns=list(wanted))
    except UNREADABLE_TABLE as exc:
        raise LogError(f"{path} can't be read on ({' '.join(str(exc).split())}); give a whole file") from exc
    return {name: table[name].to_numpy() for name in wanted}


class _Written(msgspec.Struct):
    actions: tuple[str, ...]
    surfaces: tuple[str, ...] = ()


def written_vocabulary(path: Path) -> Vocabulary | None:
    """Return the vocabulary that a Parquet file of ``EventLog.write_parquet`` was written with; None for others.

    Raises ``LogError`` for one that is damaged.
    """
    written = (parquet.read_schema(path).metadata or {}).get(VOCABULARY_KEY)
    if written is None:
        return None
    try:
        names = msgspec.json.decode(written, type=_Written)
        return Vocabulary(names.actions, names.surfaces)
    except (*UNREADABLE, ValueError) as exc:
        raise LogError(f"{path} names a vocabulary that can't be read ({exc}); write the log again") from exc
