"""``open_log``: the recorded log in a file or folder, ready to be replayed."""

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np

from rankstream.events.arrivals import Arrivals, LogError, joined
from rankstream.events.readers.json_lines import BATCH_ROWS, FIELDS, NEEDED, JsonReader, Reading
from rankstream.events.readers.rows import TIME_UNITS, Shape, kind_of
from rankstream.features.actions import Vocabulary
from rankstream.features.files import sha256

NONE: Mapping[str, str] = MappingProxyType({})


class LogReader(Protocol):
    """One kind of file."""

    def read(self, reading: Reading) -> Iterator[Arrivals]:
        """Return the arrivals, in batches, and count what is skipped."""
        ...

    def names(self, shape: Shape) -> tuple[set[str], set[str]]:
        """Return the names of actions and of surfaces that occur."""
        ...


@dataclass(frozen=True)
class FileLog:
    """A recorded log in a file; see ``base.RecordedLog``."""

    path: Path
    reader: LogReader
    shape: Shape
    sort: bool  # by time of arrival; holds the whole log in memory
    known: Vocabulary | None  # where the file or its kind tells the names
    now_ms: int
    others: tuple[Path, ...] = ()  # files that are read besides
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    def checksum(self) -> str:
        """Return the sha256 of the file; of several, that of their checksums, one a line."""
        if not self.others:
            return sha256(self.path)
        lines = "".join(f"{sha256(path)}\n" for path in (self.path, *self.others))
        return hashlib.sha256(lines.encode()).hexdigest()

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The names in the log: as the file tells them, else those that occur, sorted, which takes a pass over it."""
        if self.known is not None:
            return self.known
        actions, surfaces = self.reader.names(self.shape)
        if not actions and not self.path.stat().st_size:
            raise LogError(self._why_nothing())
        if not actions:
            raise LogError(f"{self.path} holds no action with a name; --map action=COLUMN says where they are")
        try:
            return Vocabulary(tuple(sorted(actions)), tuple(sorted(surfaces)))
        except ValueError as exc:
            raise LogError(f"{self.path}: {exc}; is --map action=COLUMN the right column?") from exc

    def batches(self, vocabulary: Vocabulary) -> Iterator[Arrivals]:
        """Read from the start, by the codes of this vocabulary. Raises ``LogError``, also for a log of nothing."""
        self.skipped.clear()
        reading = Reading(vocabulary, self.shape, self.now_ms, self.skipped)
        offset = 0
        for arrivals in self._sorted(reading) if self.sort else self.reader.read(reading):
            yield arrivals.numbered(offset)
            offset += len(arrivals)
        if not offset:
            raise LogError(self._why_nothing())

    def _sorted(self, reading: Reading) -> Iterator[Arrivals]:
        parts = list(self.reader.read(reading))
        if not parts:
            return
        whole = joined(parts)
        order = np.argsort(whole.arrived_ms, kind="stable")
        for at in range(0, len(whole), BATCH_ROWS):
            yield whole.taken(order[at : at + BATCH_ROWS])

    def _why_nothing(self) -> str:
        if not self.skipped:
            return f"{self.path} holds no rows; give a log of actions"
        (sentence, count), total = self.skipped.most_common(1)[0], self.skipped.total()
        return f"none of the {total:,} rows of {self.path} can be replayed; of {count:,} the reason is {sentence}"


def open_log(
    path: Path,
    columns: Mapping[str, str] = NONE,
    constants: Mapping[str, str] = NONE,
    time_unit: str = "ms",
    sort: bool = False,
) -> FileLog:
    """Open a log: .parquet, .csv, .tsv, .inter, .jsonl (.gz), or the folder of a public log that is known.

    ``columns`` say which column holds a field (user_id, item_id, action, timestamp_ms, and if there are any surface,
    value, arrived_ms), ``constants`` give a field one value for all rows. A log with the columns of KuaiRand, Taobao,
    MovieLens or 30Music is read as ``models.datasets`` reads it if neither is given. Arrival order is the log's own
    unless ``sort``. Raises ``LogError``.
    """
    for name in (*columns, *constants):
        if name not in FIELDS:
            raise LogError(f"{name} is no field of an action; it has {', '.join(FIELDS)}")
    if time_unit not in TIME_UNITS:
        raise LogError(f"the time unit {time_unit!r} is not known; it is one of {', '.join(TIME_UNITS)}")
    shape, now_ms = Shape(columns, constants, time_unit), time.time_ns() // 1_000_000
    if path.is_dir() or (path.is_file() and kind_of(path) != "json"):
        return _open_columns(path, shape, sort, now_ms)
    if not path.is_file():
        raise LogError(f"there is no file {path}; name a .parquet, .csv or .jsonl file, or the folder of a known log")
    return FileLog(path, JsonReader(path), shape, sort, None, now_ms)


def _open_columns(path: Path, shape: Shape, sort: bool, now_ms: int) -> FileLog:
    try:
        from rankstream.events.public import kuairand
        from rankstream.events.public.batches import known_by, log_in, whole_kuairand
        from rankstream.events.readers.columns import ColumnReader, file_columns, written_vocabulary
        from rankstream.events.readers.event_table import TableReader
    except ImportError as exc:
        raise LogError(f'reading {path} needs pyarrow: pip install "rankstream[train]"') from exc
    whole = whole_kuairand(path) if path.is_dir() and shape == Shape() else None
    path = log_in(path) if path.is_dir() else path
    if whole is not None:
        history = path.parent / kuairand.HISTORY
        return FileLog(path, TableReader(whole), shape, sort, whole.vocabulary, now_ms, (history,))
    found = file_columns(path)
    bare = tuple(name.partition(":")[0] for name in found)  # RecBole writes user_id:token
    known = known_by(bare) if shape == Shape() else None
    if known is not None:
        reader = ColumnReader(path, known.columns, known.translation, None if bare == found else bare)
        return FileLog(path, reader, shape, sort, known.vocabulary, now_ms)
    shape.check(path, found, NEEDED)
    columns = tuple(dict.fromkeys(column for name in FIELDS if (column := shape.column(name)) in found))
    written = written_vocabulary(path) if kind_of(path) == "parquet" else None
    return FileLog(path, ColumnReader(path, columns), shape, sort, written, now_ms)
