"""Parquet and CSV files as batches of columns, of a bounded size; ``arrow_batch.py`` packs them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from rankstream.events.action_event import Rejected
from rankstream.events.arrivals import Arrivals, LogError, skip
from rankstream.events.readers.arrow_batch import Batch, Translate, arrivals_of_batch, given_column, is_text, plain
from rankstream.events.readers.json_lines import BATCH_ROWS, Reading
from rankstream.events.readers.rows import DELIMITERS, RAGGED, Shape, csv_heading, file_type
from rankstream.features.actions import Vocabulary

CSV_BLOCK = 4 << 20  # bytes
VOCABULARY_KEY = b"rankstream.vocabulary"  # of the metadata of files that ``EventLog.write_parquet`` wrote


def as_it_is(batch: Batch) -> Batch:
    """Return a batch unchanged: its columns are the wire's, or are mapped to them."""
    return batch


@dataclass(frozen=True)
class ColumnReader:
    """Reads a file of columns; ``translation`` makes the wire's columns of a public log's own."""

    path: Path
    columns: tuple[str, ...]  # those that are read
    translation: Callable[[], Translate] = lambda: as_it_is
    rename: Sequence[str] | None = None  # other names for all columns of a CSV file

    def read(self, reading: Reading) -> Iterator[Arrivals]:
        """Yield the arrivals of the rows."""
        translate = self.translation()
        for batch in self.batches(reading):
            arrivals = arrivals_of_batch(translate(batch), reading)
            if len(arrivals):
                yield arrivals

    def names(self, shape: Shape) -> tuple[set[str], set[str]]:
        """Return the names of actions and of surfaces that occur."""
        found: tuple[set[str], set[str]] = (set(), set())
        translate = self.translation()
        for batch in self.batches(None):
            wire = translate(batch)
            for name, names in zip(("action", "surface"), found, strict=True):
                given = given_column(wire, shape, name)
                if given is not None and is_text(given.type):
                    names.update(filter(None, pc.unique(plain(given)).to_pylist()))
        return found

    def batches(self, reading: Reading | None) -> Iterator[Batch]:
        """Yield the rows in batches of a bounded size."""
        batches = self._parquet() if file_type(self.path) == "parquet" else self._csv(reading)
        try:
            for batch in batches:
                for at in range(0, batch.num_rows, BATCH_ROWS):
                    yield batch.slice(at, BATCH_ROWS)
        except (pa.ArrowException, OSError) as exc:
            raise LogError(f"{self.path} can't be read on ({' '.join(str(exc).split())}); give a whole file") from exc

    def _parquet(self) -> Iterator[Batch]:
        # Buffered, not read ahead: a row group may be as large as the whole log.
        with parquet.ParquetFile(self.path, pre_buffer=False, buffer_size=1 << 20) as file:
            yield from file.iter_batches(batch_size=BATCH_ROWS, columns=list(self.columns), use_threads=False)

    def _csv(self, reading: Reading | None) -> Iterator[Batch]:
        def count(row: Any) -> str:
            if reading is not None:
                skip(reading.skipped, Rejected("schema", RAGGED))
            return "skip"

        with open_csv(self.path, self.columns, self.rename, count) as batches:
            yield from batches


def open_csv(
    path: Path, columns: Sequence[str], rename: Sequence[str] | None = None, ragged: Callable[[Any], str] | None = None
) -> Any:
    """Open a CSV or TSV file as a stream of batches, all columns as text: an id of 007 must stay one."""
    return arrow_csv.open_csv(
        path,
        arrow_csv.ReadOptions(
            block_size=CSV_BLOCK, use_threads=False, column_names=rename, skip_rows=0 if rename is None else 1
        ),
        arrow_csv.ParseOptions(
            delimiter=DELIMITERS[file_type(path)], newlines_in_values=True, invalid_row_handler=ragged
        ),
        arrow_csv.ConvertOptions(
            column_types={name: pa.string() for name in columns},
            include_columns=list(columns),
            strings_can_be_null=False,
        ),
    )


def file_columns(path: Path) -> tuple[str, ...]:
    """Return the names of a file's columns. Raises ``LogError``."""
    if file_type(path) != "parquet":
        return csv_heading(path)
    try:
        return tuple(parquet.read_schema(path).names)
    except (pa.ArrowException, OSError) as exc:
        raise LogError(f"{path} can't be read as Parquet: {' '.join(str(exc).split())}") from exc


def read_columns(path: Path, wanted: Sequence[str]) -> Mapping[str, npt.NDArray[Any]]:
    """Read these columns of a Parquet file that is no log. Raises ``LogError`` for a file that lacks one or is none."""
    if not path.is_file():
        raise LogError(f"there is no file {path}; give the path of the file")
    found = file_columns(path)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise LogError(
            f"{path} has no column {', '.join(missing)}; it has {', '.join(found)}; wanted {', '.join(wanted)}"
        )
    table = parquet.read_table(path, columns=list(wanted))
    return {name: table[name].to_numpy() for name in wanted}


class _Written(msgspec.Struct):
    actions: tuple[str, ...]
    surfaces: tuple[str, ...] = ()


def written_vocabulary(path: Path) -> Vocabulary | None:
    """Return the vocabulary that a Parquet file of ``EventLog.write_parquet`` was written with; None for others."""
    written = (parquet.read_schema(path).metadata or {}).get(VOCABULARY_KEY)
    if written is None:
        return None
    names = msgspec.json.decode(written, type=_Written)
    return Vocabulary(names.actions, names.surfaces)
