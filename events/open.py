"""``open_log``: the recorded log in a file or folder, for training, replay and every other command.

::

    path, LogOptions  ->  files and the reader of each  ->  FileLog.batches: Arrivals    (``log.event_log_of``: columns)

A log is recognised by its columns, in a file or in a folder that holds one. A folder of files with the wire's columns
(one a day, say) is one log, in the order of their names.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np

from rankstream.events.arrivals import Arrivals, LogError, concatenated
from rankstream.events.readers.json_lines import BATCH_ROWS, FIELDS, NEEDED, JsonReader, Reading
from rankstream.events.readers.rows import FILE_TYPES, TIME_UNITS, Shape, file_type
from rankstream.features.actions import Vocabulary
from rankstream.features.files import sha256

WIRE_FORMAT = "events"  # the kind of a log with the wire's columns; the others are the public logs (``public/``)


@dataclass(frozen=True)
class LogOptions:
    """How a log is to be read, where its files do not say it themselves."""

    columns: Mapping[str, str] = field(default_factory=dict)  # field (of ``FIELDS``) -> the column that holds it
    constants: Mapping[str, str] = field(default_factory=dict)  # field -> its value in all rows
    time_unit: str = "ms"  # of the columns of times
    delimiter: str | None = None  # of text; told by its first lines
    heading: tuple[str, ...] | None = None  # names of the columns of files without a heading
    kind: str | None = None  # ``events`` or a name of ``public.PUBLIC``; told by the columns
    sort: bool = False  # by time of arrival, which holds the whole log in memory; else as it lies in the files
    # KuaiRand's folder holds something of the time before its impressions, at estimated times: good enough to fill a
    # user's history, not to learn from.
    history: bool = True

    def __post_init__(self) -> None:
        for name in (*self.columns, *self.constants):
            if name not in FIELDS:
                raise LogError(f"{name} is no field of an action; it has {', '.join(FIELDS)}")
        if self.time_unit not in TIME_UNITS:
            raise LogError(f"the time unit {self.time_unit!r} is not known; it is one of {', '.join(TIME_UNITS)}")

    @property
    def shape(self) -> Shape:
        """How a row becomes an action."""
        return Shape(self.columns, self.constants, self.time_unit)


AS_IT_IS = LogOptions()


class LogReader(Protocol):
    """Reads one file."""

    def read(self, reading: Reading) -> Iterator[Arrivals]:
        """Yield the arrivals, in batches, and count what is skipped."""
        ...

    def names(self, shape: Shape) -> tuple[set[str], set[str]]:
        """Return the names of actions and of surfaces that occur."""
        ...


@dataclass(frozen=True)
class LogFile:
    """One file of a log."""

    path: Path
    reader: LogReader
    written: Vocabulary | None = None  # where the file, or its kind, names the actions


@dataclass(frozen=True)
class FileLog:
    """A recorded log in one or several files, read one after the other; see ``arrivals.RecordedLog``."""

    path: Path
    kind: str  # ``events`` or a name of ``public.PUBLIC``
    files: tuple[LogFile, ...]  # in the order that they are read
    shape: Shape
    sort: bool  # by time of arrival; holds the whole log in memory
    now_ms: int
    notes: tuple[str, ...] = ()  # what is to be said of how it is read, a line each
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    @property
    def untyped(self) -> bool:
        """Whether ids come from a file of text, in which the number 7 and the text 7 look alike."""
        return any(file_type(file.path) in ("csv", "tsv") for file in self.files)

    def checksum(self) -> str:
        """Return the sha256 of the file; of several, that of their checksums, one a line, the log's own file first."""
        sums = [sha256(file.path) for file in sorted(self.files, key=lambda file: file.path != self.path)]
        return sums[0] if len(sums) == 1 else hashlib.sha256("".join(f"{one}\n" for one in sums).encode()).hexdigest()

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The names in the log: as its file has them, else all that occur, sorted, which takes a pass over it."""
        if (len(self.files) == 1 or self.kind != WIRE_FORMAT) and self.files[0].written is not None:
            return self.files[0].written
        actions, surfaces = set[str](), set[str]()
        for file in self.files:
            known = file.written
            found = (known.actions, known.surfaces) if known is not None else file.reader.names(self.shape)
            actions.update(found[0])
            surfaces.update(found[1])
        if not actions:
            raise LogError(self._why_no_names())
        try:
            return Vocabulary(tuple(sorted(actions)), tuple(sorted(surfaces)))
        except ValueError as exc:
            raise LogError(f"{self.path}: {exc}; is --map action=COLUMN the right column?") from exc

    def batches(self, vocabulary: Vocabulary) -> Iterator[Arrivals]:
        """Read from the start, by the codes of this vocabulary. Raises ``LogError``, also for an empty log."""
        self.skipped.clear()
        reading = Reading(vocabulary, self.shape, self.now_ms, self.skipped)
        offset = 0
        for arrivals in self._sorted(reading) if self.sort else self._read(reading):
            yield arrivals.numbered(offset)
            offset += len(arrivals)
        if not offset:
            raise LogError(self._why_nothing())

    def _read(self, reading: Reading) -> Iterator[Arrivals]:
        return chain.from_iterable(file.reader.read(reading) for file in self.files)

    def _sorted(self, reading: Reading) -> Iterator[Arrivals]:
        parts = list(self._read(reading))
        if not parts:
            return
        whole = concatenated(parts)
        order = np.argsort(whole.arrived_ms, kind="stable")
        for at in range(0, len(whole), BATCH_ROWS):
            yield whole.taken(order[at : at + BATCH_ROWS])

    def _why_no_names(self) -> str:
        for _ in self._read(Reading(Vocabulary(("none",)), self.shape, self.now_ms, self.skipped)):
            pass
        if any("`action`" in sentence for sentence in self.skipped):
            return f"{self.path} holds no action with a name; give the column of the names with --map action=COLUMN"
        return self._why_nothing()

    def _why_nothing(self) -> str:
        if not self.skipped:
            return f"{self.path} holds no rows; give a log of actions"
        (sentence, count), total = self.skipped.most_common(1)[0], self.skipped.total()
        return f"none of the {total:,} rows of {self.path} can be read; of {count:,} the reason is {sentence}"


def open_log(path: Path, options: LogOptions = AS_IT_IS) -> FileLog:
    """Open a log: .parquet, .csv, .tsv, .inter, .jsonl (.gz), a folder of such files, or that of a public log.

    A log with the columns of a public one is read as that, unless ``options`` say its kind or its columns. Raises
    ``LogError``.
    """
    shape, kind, now_ms = options.shape, options.kind, time.time_ns() // 1_000_000
    if shape != Shape():
        kind = kind or WIRE_FORMAT
    if not path.is_dir() and not path.is_file():
        raise LogError(f"there is no file {path}; name a .parquet, .csv or .jsonl file, or the folder of a public log")
    if path.is_dir():
        kind, paths = _files_in(path, kind, shape)
    else:
        kind, paths = kind or _kind_of_file(path) or WIRE_FORMAT, [path]
    if kind == WIRE_FORMAT:
        files = [_of_the_wire(file, shape) for file in paths]
        return FileLog(paths[0] if len(paths) == 1 else path, kind, tuple(files), shape, options.sort, now_ms)
    files = _of_public(kind, paths[0], options.history and path.is_dir())
    sort = options.sort or len(files) > 1  # each file has its own order
    return FileLog(paths[0], kind, tuple(files), shape, sort, now_ms)


def _of_the_wire(path: Path, shape: Shape) -> LogFile:
    if file_type(path) == "json":
        return LogFile(path, JsonReader(path))
    try:
        from rankstream.events.readers.columns import ColumnReader, file_columns, written_vocabulary
    except ImportError as exc:
        raise _needs_pyarrow(path) from exc
    found = file_columns(path)
    shape.check(path, found, NEEDED)
    columns = tuple(dict.fromkeys(column for name in FIELDS if (column := shape.column(name)) in found))
    return LogFile(
        path, ColumnReader(path, columns), written_vocabulary(path) if file_type(path) == "parquet" else None
    )


def _of_public(kind: str, path: Path, history: bool) -> list[LogFile]:
    """Return the file of a public log, and of what came before it if that lies beside it and is asked for."""
    try:
        from rankstream.events.public import PUBLIC
        from rankstream.events.readers.columns import ColumnReader, file_columns
    except ImportError as exc:
        raise _needs_pyarrow(path) from exc
    parts, files = [(path, PUBLIC[kind])], []
    past = PUBLIC[kind].history
    if history and past is not None and (beside := path.with_name(past.files[0])).is_file():
        parts.insert(0, (beside, past))
    for file, log in parts:
        if file_type(file) == "json":
            raise LogError(f"{file} holds JSON lines, but {kind} is published as a table; leave --format out")
        found = file_columns(file)
        bare = _bare(found)
        missing = [name for name in log.columns if name not in bare]
        if missing:
            raise LogError(f"{file} has no column {', '.join(missing)}; it has {', '.join(bare) or 'none'}")
        reader = ColumnReader(file, log.columns, log.translation, None if bare == found else bare)
        files.append(LogFile(file, reader, log.vocabulary))
    return files


def _files_in(folder: Path, kind: str | None, shape: Shape) -> tuple[str, list[Path]]:
    """Return the kind of the log in a folder, and its files. Raises ``LogError``."""
    kinds = {file: of for file in sorted(folder.iterdir()) if (of := _kind_of_file(file, shape))}
    found = {file: of for file, of in kinds.items() if kind in (None, of)}
    public = {file: of for file, of in found.items() if of != WIRE_FORMAT}
    if len(public) > 1:  # the name that it is published under decides
        preferred = [folder / name for name in _file_names() if folder / name in public]
        if not preferred or len(set(public.values())) > 1:
            names = ", ".join(file.name for file in public)
            raise LogError(f"the folder {folder} holds several logs ({names}); give the file itself")
        public = {preferred[0]: public[preferred[0]]}
    for file, of in public.items():
        return of, [file]
    if found:
        return WIRE_FORMAT, list(found)
    files = ", ".join(sorted(file.name for file in folder.iterdir())[:5])
    raise LogError(
        f"the folder {folder} holds no log that is known ({', '.join(_file_names())}, or files with the columns "
        f"{', '.join(NEEDED)}), only {files or 'nothing'}; name the file itself"
    )


def _kind_of_file(path: Path, shape: Shape | None = None) -> str | None:
    """Return the kind of the log in a file by its columns; None for a file that is no log."""
    if not path.is_file() or not any(name.lower() in FILE_TYPES for name in path.suffixes[-2:]):
        return None
    if file_type(path) == "json":
        return WIRE_FORMAT
    try:
        from rankstream.events.public import public_log_with
        from rankstream.events.readers.columns import file_columns
    except ImportError as exc:
        raise _needs_pyarrow(path) from exc
    try:
        columns = file_columns(path)
    except LogError:
        return None
    shape = shape or Shape()
    if shape == Shape() and (public := public_log_with(_bare(columns))):
        return public
    return WIRE_FORMAT if all(name in shape.constants or shape.column(name) in columns for name in NEEDED) else None


def _bare(columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.partition(":")[0] for name in columns)  # RecBole writes user_id:token


def _file_names() -> list[str]:
    try:
        from rankstream.events.public import PUBLIC
    except ImportError:
        return []
    return [name for log in PUBLIC.values() for name in log.files]


def _needs_pyarrow(path: Path) -> LogError:
    return LogError(f'reading {path} needs pyarrow: pip install "rankstream[train]"')
