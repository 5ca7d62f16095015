"""``open_log``: the recorded log in a file or folder, for training, replay and every other command.

::

    path, LogOptions  ->  files  ->  the layout of each  ->  its columns  ->  FileLog.batches: Arrivals
                        files.py    readers/text.py        guess.py, public/   readers/

A file is a log if its columns are the wire's, or a public log's, or if their names leave no doubt. A folder of such
files (one a day, say) is one log, in the order of their names; what in it is not read is named in ``FileLog.notes``.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rankstream.events.arrivals import Arrivals, LogError, concatenated
from rankstream.events.files import READABLE, PlacedFile, files_at, shortened
from rankstream.events.guess import fitting
from rankstream.events.log_kind import WIRE_FORMAT
from rankstream.events.public import PUBLIC, published_as
from rankstream.events.public.batches import Form
from rankstream.events.readers.json_lines import BATCH_ROWS, FIELDS, NEEDED, JsonReader, Reading
from rankstream.events.readers.plain import PlainReader
from rankstream.events.readers.rows import Row, Shape, json_row
from rankstream.events.readers.text import Layout, check_names, delimiter_of, layout_of, needs_pyarrow, why_no_heading
from rankstream.events.readers.times import AUTO, SAMPLE_ROWS, TIME_UNITS, TIMES, told_unit
from rankstream.events.skipped import Skipped
from rankstream.features.actions import Vocabulary
from rankstream.features.files import sha256


@dataclass(frozen=True)
class LogOptions:
    """How a log is to be read, where its files do not say it themselves."""

    columns: Mapping[str, str] = field(default_factory=dict)  # field (of ``FIELDS``) -> the column that holds it
    constants: Mapping[str, str] = field(default_factory=dict)  # field -> its value in all rows
    time_unit: str = AUTO  # of the columns of times; told by the first rows
    max_skipped: float = 1.0  # share of rows; a log of which more are skipped is refused, at its end
    delimiter: str | None = None  # of text; told by its first lines
    heading: tuple[str, ...] | None = None  # names of the columns of text without a heading
    kind: str | None = None  # ``events`` or a name of ``public.PUBLIC``; told by the columns
    sort: bool = False  # by time of arrival, which holds the whole log in memory; else as it lies in the files
    # KuaiRand's folder holds something of the time before its impressions, at estimated times: good enough to fill a
    # user's history, not to learn from.
    history: bool = True

    def check(self, fields: Collection[str] = FIELDS) -> None:
        """Raise ``LogError`` for what is no field, no time unit or no delimiter."""
        for name in (*self.columns, *self.constants):
            if name not in fields:
                raise LogError(f"{name} is no field of an action; it has {', '.join(fields)}")
        if self.time_unit not in TIME_UNITS:
            raise LogError(f"the time unit {self.time_unit!r} is not known; it is one of {', '.join(TIME_UNITS)}")
        if self.kind not in (None, WIRE_FORMAT, *PUBLIC):
            raise LogError(f"the format {self.kind!r} is not known; it is one of {', '.join((*PUBLIC, WIRE_FORMAT))}")


NOT_ALWAYS_LOGS = (".txt", ".dat", ".data", ".json")  # endings of much else, too
AS_IT_IS = LogOptions()
SAMPLE_FILES = 50  # of a log, whose first rows tell the unit of its times


class LogReader(Protocol):
    """Reads one file."""

    def read(self, reading: Reading) -> Iterator[Arrivals]:
        """Yield the arrivals, in batches, and count what is skipped."""
        ...

    def names(self, shape: Shape) -> tuple[set[str], set[str]]:
        """Return the names of actions and of surfaces that occur."""
        ...

    def rows(self) -> Generator[Row, None, None]:
        """Yield the rows one by one, as they lie in the file; those of a public log as the wire has them."""
        ...


@dataclass(frozen=True)
class LogFile:
    """One file of a log."""

    layout: Layout
    reader: LogReader
    shape: Shape  # how a row becomes an action
    written: Vocabulary | None = None  # where the file, or its kind, names the actions
    times: str = ""  # the column of a public log's times, which its reader renames

    @property
    def path(self) -> Path:
        """Return its path."""
        return self.layout.path


@dataclass(frozen=True)
class FileLog:
    """A recorded log in one or several files, read one after the other; see ``arrivals.RecordedLog``."""

    path: Path
    kind: str  # ``events`` or a name of ``public.PUBLIC``
    files: tuple[LogFile, ...]  # in the order that they are read
    sort: bool  # by time of arrival; holds the whole log in memory
    now_ms: int
    notes: tuple[str, ...] = ()  # what is to be said of how it is read, a line each
    max_skipped: float = 1.0  # share of rows; where more are skipped, reading ends with ``LogError``
    skipped: Skipped = field(default_factory=Skipped)

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    @property
    def untyped(self) -> bool:
        """Whether ids come from a file of text, in which the number 7 and the text 7 look alike."""
        return any(file.layout.type == "text" for file in self.files)

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
            found = (known.actions, known.surfaces) if known is not None else file.reader.names(file.shape)
            actions.update(set(found[0]) - {file.shape.column("action")})  # a heading that comes again in joined files
            surfaces.update(set(found[1]) - {file.shape.column("surface")})
        if not actions:
            raise LogError(self._why_no_names())
        try:
            return Vocabulary(tuple(sorted(actions)), tuple(sorted(surfaces)))
        except ValueError as exc:
            raise LogError(f"{self.path}: {exc}; is --map action=COLUMN the right column?") from exc

    def batches(self, vocabulary: Vocabulary) -> Iterator[Arrivals]:
        """Read from the start, by the codes of this vocabulary. Raises ``LogError``, also for an empty log."""
        self.skipped.clear()
        offset = 0
        for arrivals in self._sorted(vocabulary) if self.sort else self._read(vocabulary):
            yield arrivals.numbered(offset)
            offset += len(arrivals)
        if not offset:
            raise LogError(self._why_nothing())
        self.check_skipped(offset)

    def check_skipped(self, kept: int) -> None:
        """Raise ``LogError`` where too many rows were skipped up to here; ``kept`` were not."""
        if self.skipped.exceeds(self.max_skipped, kept):
            raise LogError(self.skipped.refusal(self.name, kept))

    def _read(self, vocabulary: Vocabulary) -> Iterator[Arrivals]:
        readings = ((file, Reading(vocabulary, file.shape, self.now_ms, self.skipped)) for file in self.files)
        return chain.from_iterable(file.reader.read(reading) for file, reading in readings)

    def _sorted(self, vocabulary: Vocabulary) -> Iterator[Arrivals]:
        parts = list(self._read(vocabulary))
        if not parts:
            return
        whole = concatenated(parts)
        order = np.argsort(whole.arrived_ms, kind="stable")
        for at in range(0, len(whole), BATCH_ROWS):
            yield whole.taken(order[at : at + BATCH_ROWS])

    def _why_no_names(self) -> str:
        for _ in self._read(Vocabulary(("none",))):
            pass
        if any(kind.startswith("schema") and kind.endswith("action") for kind in self.skipped.rows):
            return (
                f"{self.path} holds no action with a name; give the column of the names with --map action=COLUMN, or, "
                "if all rows are of one kind, say which with --set action=view"
            )
        return self._why_nothing()

    def _why_nothing(self) -> str:
        if not self.skipped:
            return f"{self.path} holds no rows; give a log of actions"
        return f"none of the {self.skipped.total():,} rows of {self.path} can be read; {self.skipped.reasons()}"


@dataclass(frozen=True)
class _Candidate:
    """A file that may be of a log."""

    file: LogFile | None  # None if it isn't
    path: Path
    kind: str = WIRE_FORMAT
    guesses: Mapping[str, str] = field(default_factory=dict)  # field -> column
    why_not: LogError | None = None
    lacks: int = len(NEEDED)  # fields


def open_log(path: Path, options: LogOptions = AS_IT_IS) -> FileLog:
    """Open a log: a file of Parquet, delimited text or JSON lines, a folder or a pattern of such files.

    A log with the columns of a public one is read as that, unless ``options`` say its kind or its columns. Raises
    ``LogError``.
    """
    options.check()
    found = files_at(path)
    options = options if options.delimiter is None else replace(options, delimiter=delimiter_of(options.delimiter))
    candidates = [_candidate(file, options, path.is_file()) for file in found.files]
    chosen = _chosen(path, [one for one in candidates if one.file is not None])
    if not chosen:
        raise _why_none(path, candidates, found.strange)
    kind, files = chosen[0].kind, [one.file for one in chosen if one.file is not None]
    if options.history and path.is_dir() and kind != WIRE_FORMAT:
        files = [*_history(kind, files[0].path), *files]
    if options.heading is not None and not any(file.layout.type == "text" for file in files):
        raise LogError(f"--columns names the columns of text without a heading; {files[0].path} names its own")
    left = [one for one in candidates if one.path not in [file.path for file in files]]
    whole = path if len(chosen) > 1 else chosen[0].path
    notes = (*_known_as(whole, chosen[0], options), *_guesses(path, chosen))
    if options.time_unit != AUTO or any(file.shape.time_unit == AUTO for file in files):
        files, told = _in_told_unit(files, whole, options.time_unit)
        notes = (*notes, *told)
    notes = (*notes, *_not_read(path, files, left, found.strange))
    sort = options.sort or (kind != WIRE_FORMAT and len(files) > 1)  # each has its own order
    return FileLog(whole, kind, tuple(files), sort, time.time_ns() // 1_000_000, notes, options.max_skipped)


def _in_told_unit(files: Sequence[LogFile], path: Path, unit: str) -> tuple[list[LogFile], tuple[str, ...]]:
    """Return the files with the one unit of their times, and what there is to say of it. Raises ``LogError``."""
    columns: dict[str, list[Any]] = {}
    for file in files[:: -(-len(files) // SAMPLE_FILES)]:
        names = {file.shape.column(name) for name in TIMES if name not in file.shape.constants}
        with closing(file.reader.rows()) as rows:
            for row in islice(rows, SAMPLE_ROWS):
                for name in names & row.keys():
                    columns.setdefault(file.times or name, []).append(row[name])
    told = told_unit(columns, str(path), unit)
    return [replace(file, shape=replace(file.shape, time_unit=told.unit)) for file in files], told.notes


def _candidate(placed: PlacedFile, options: LogOptions, alone: bool) -> _Candidate:
    """Look at a file, and at how it would be read. Raises ``LogError`` for a log that can't be."""
    path, kind = placed.path, options.kind
    try:
        layout = layout_of(path, options.delimiter, options.heading)
    except LogError as why_not:
        if alone or (path.suffix.lower() not in NOT_ALWAYS_LOGS and options.heading is None):
            raise
        return _Candidate(None, path, why_not=why_not)
    named = options.columns or options.constants or set(NEEDED) <= set(layout.columns)
    if kind in PUBLIC or (kind is None and not named):
        if (published := published_as(layout, kind)) is not None:
            name, form, as_form = published
            check_names(as_form)
            return _Candidate(_of_public(as_form, form, PUBLIC[name].vocabulary), path, name)
        if kind in PUBLIC:
            return _Candidate(None, path, why_not=_not_of(layout, kind or ""))
    shape, fits = _shape_of(placed, options, layout.columns)
    try:
        if layout.type == "text" and not layout.columns and layout.first_rows:
            raise why_no_heading(layout)
        if layout.type != "json" or not alone:  # a later line may have other keys than the first ones
            shape.check(path, layout.columns, NEEDED)
    except LogError as why_not:
        lacks = sum(name not in shape.constants and shape.column(name) not in layout.columns for name in NEEDED)
        return _Candidate(None, path, why_not=LogError(f"{why_not}{_perhaps(layout, lacks)}"), lacks=lacks)
    for name, columns in fits.items():
        if len(columns) > 1 and name in NEEDED:
            raise LogError(
                f"{path} has several columns that may hold {name}, {' and '.join(columns)}; say which with "
                f"--map {name}={columns[0]}"
            )
    check_names(layout)
    return _Candidate(_of_the_wire(layout, shape), path, WIRE_FORMAT, {name: one for name, (one, *_) in fits.items()})


def _perhaps(layout: Layout, lacks: int) -> str:
    """Return what else may be wrong with text in which nothing is called as usual."""
    if layout.type != "text" or lacks < len(NEEDED) or not layout.columns:
        return ""
    if len(layout.columns) == 1:
        return "; if that is several columns, say what is between them with --delimiter"
    return "; if that is a row and no heading, name the columns with --columns NAME,NAME,..."


def _shape_of(placed: PlacedFile, options: LogOptions, columns: Collection[str]) -> tuple[Shape, dict[str, list[str]]]:
    """Return how rows of a file become actions, and which columns were guessed, all that fit.

    What the folders say (``action=view/``) counts where the file has no such column.
    """
    said = {name: column for name, column in options.columns.items() if column in placed.partitions.keys() - columns}
    constants = {name: placed.partitions[column] for name, column in said.items()} | dict(options.constants)
    sources = {name: column for name, column in options.columns.items() if name not in said}
    left = [name for name in FIELDS if name not in (*sources, *constants, *columns)]
    fits = fitting(columns, left, {*sources.values(), *set(FIELDS).intersection(columns)})
    fits = {name: found for name, found in fits.items() if len(found) == 1 or name in NEEDED}
    sources |= {name: found[0] for name, found in fits.items()}
    left = [name for name in left if name not in fits and name not in TIMES]
    for name, keys in fitting(placed.partitions, left).items():
        if value := placed.partitions[keys[0]]:
            constants[name] = value
    return Shape(sources, constants, AUTO), fits


def _of_the_wire(layout: Layout, shape: Shape) -> LogFile:
    if layout.type == "json":
        return LogFile(layout, JsonReader(layout.path), shape)
    columns = tuple(dict.fromkeys(column for name in FIELDS if (column := shape.column(name)) in layout.columns))
    try:
        from rankstream.events.readers.columns import ColumnReader, written_vocabulary
    except ImportError as exc:
        if layout.type == "text":
            return LogFile(layout, PlainReader(layout, columns), shape)
        raise needs_pyarrow(layout.path) from exc
    written = written_vocabulary(layout.path) if layout.type == "parquet" else None
    return LogFile(layout, ColumnReader(layout, columns), shape, written)


def _of_public(layout: Layout, form: Form, vocabulary: Vocabulary) -> LogFile:
    try:
        from rankstream.events.readers.columns import ColumnReader
    except ImportError as exc:
        raise needs_pyarrow(layout.path) from exc
    parse = form.parse or ((lambda line: [json_row(line)]) if layout.type == "json" else None)
    reader = ColumnReader(layout, form.columns, form.translation, parse)
    return LogFile(layout, reader, Shape(time_unit=form.time_unit), vocabulary, form.times)


def _history(kind: str, beside: Path) -> Sequence[LogFile]:
    """Return the file of what came before a public log, if it lies beside it."""
    history = PUBLIC[kind].history
    if history is None:
        return ()
    name, form = history
    path = beside.with_name(name)
    return (_of_public(layout_of(path), form, PUBLIC[kind].vocabulary),) if path.is_file() else ()


def _chosen(path: Path, logs: list[_Candidate]) -> list[_Candidate]:
    """Return those files of a folder that are the log. Raises ``LogError`` where there are several logs."""
    kinds = {one.kind for one in logs}
    if len(kinds) > 1:
        names = shortened([f"{one.path.name} ({one.kind})" for one in logs])
        raise LogError(f"the folder {path} holds several logs: {names}; give the file itself, or --format")
    for name in PUBLIC[logs[0].kind].files if kinds - {WIRE_FORMAT} else ():
        if named := [one for one in logs if one.path.name == name]:
            return named
    return logs


def _why_none(path: Path, candidates: Sequence[_Candidate], strange: Sequence[Path]) -> LogError:
    if path.is_file() and (why_not := candidates[0].why_not) is not None:
        return why_not
    names = shortened([_relative(one.path, path) for one in candidates] + [_relative(one, path) for one in strange])
    known = f"{', '.join(sorted(PUBLIC))} as published, or files with the columns {', '.join(NEEDED)}"
    nearest = min(candidates, key=lambda one: one.lacks, default=None)
    first = READABLE if nearest is None else nearest.why_not
    return LogError(f"the folder {path} holds no log that is known ({known}), only {names or 'nothing'}; {first}")


def _not_of(layout: Layout, kind: str) -> LogError:
    """Return the refusal of a file that is not the public log that it was said to be."""
    if layout.type == "text" and not layout.columns and layout.first_rows:
        return why_no_heading(layout)
    has = [name.partition(":")[0] for name in layout.columns]
    wanted = min((form.columns for form in PUBLIC[kind].forms), key=lambda one: len(set(one) - set(has)))
    missing = ", ".join(name for name in wanted if name not in has)
    return LogError(f"{layout.path} is no {kind}: it has no column {missing}; it has {', '.join(has) or 'none'}")


def _known_as(path: Path, chosen: _Candidate, options: LogOptions) -> Iterator[str]:
    """Yield as what a log is read that was recognised as a public one."""
    if chosen.kind != WIRE_FORMAT and options.kind is None:
        actions = ", ".join(PUBLIC[chosen.kind].vocabulary.actions)
        yield f"{path} is read as {chosen.kind}, with its actions {actions}; --format {WIRE_FORMAT} says otherwise"


def _guesses(path: Path, chosen: Sequence[_Candidate]) -> Iterator[str]:
    """Yield which columns were guessed, a line for all files that they are the same in."""
    said = Counter(", ".join(f"{name} is {column}" for name, column in one.guesses.items()) for one in chosen)
    for columns, count in said.items():
        if columns:
            where = path if count == len(chosen) else f"{count:,} of {len(chosen):,} files of {path}"
            yield f"{where}: by the names of its columns, {columns}; --map says otherwise"


def _not_read(
    path: Path, files: Sequence[LogFile], left: Sequence[_Candidate], strange: Sequence[Path]
) -> Iterator[str]:
    """Yield what of a folder is not read."""
    names = [_relative(one.path, path) for one in left] + [_relative(one, path) for one in strange]
    if names:
        read = shortened([_relative(file.path, path) for file in files])
        yield f"{path}: read {read}; not read, as they are no log of this kind: {shortened(names)}"


def _relative(file: Path, folder: Path) -> str:
    return str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file)
