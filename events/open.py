"""``open_log``: the recorded log in a file or folder, for training, replay and every other command.

::

    path, LogOptions  ->  files  ->  the layout of each  ->  its columns  ->  FileLog.batches: Arrivals
                        files.py    readers/text.py        recognition.py    file_log.py, readers/

A file is a log if its columns are the wire's, or a public log's, or if their names leave no doubt. A folder of such
files (one a day, say) is one log, in the order of their names; what in it is not read is named in ``FileLog.notes``.
"""

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from rankstream.events.arrivals import LogError
from rankstream.events.file_log import FileLog, LogFile, sampled
from rankstream.events.files import READABLE, files_at, shortened
from rankstream.events.log_kind import WIRE_FORMAT
from rankstream.events.log_options import AS_IT_IS, LogOptions
from rankstream.events.public import PUBLIC
from rankstream.events.rating_scale import on_told_scale
from rankstream.events.readers.dates import AUTO
from rankstream.events.readers.json_lines import LIST_FIELDS, NEEDED
from rankstream.events.readers.shown_lists import ListReader
from rankstream.events.readers.text import delimiter_of, layout_of
from rankstream.events.readers.times import SAMPLE_ROWS, TIMES, told_unit
from rankstream.events.recognition import Recognised, of_public, recognise

__all__ = ["AS_IT_IS", "FileLog", "LogFile", "LogOptions", "open_log"]

SHOWN = "impression"  # the action of the rows of a file of impressions
OF_FLOATS = re.compile(r"[0-9]+[.]0")
ROUNDED = re.compile(r"[0-9]([.,][0-9]+)?E[+][0-9]+")  # as spreadsheets write long numbers


def open_log(path: Path, options: LogOptions = AS_IT_IS) -> FileLog:
    """Open a log: a file of Parquet, delimited text or JSON lines, a folder or a pattern of such files.

    A log with the columns of a public one is read as that, unless ``options`` say its kind or its columns. A file of
    impressions beside it (``options.impressions``) is read by the same rules. Raises ``LogError``.
    """
    options.check()
    if options.impressions is None:
        log = _opened(path, options)
        if log.files[0].dumped and (options.columns or options.constants):
            raise LogError(f"{log.path} holds records of a topic, whose fields have names; leave out --map and --set")
        return log
    if options.shown is not None:
        raise LogError("--shown and --impressions both say what was shown; give one of them")
    there = {name: column for name, column in options.columns.items() if name not in LIST_FIELDS}
    log = _opened(path, replace(options, columns=there | _those_of(path, options.columns)))
    if log.shown is not None:
        raise LogError(f"{log.path} is read as {log.kind}, which says itself what was shown; leave out --impressions")
    return replace(log, shown_in=_opened_impressions(options.impressions, options))


def _opened_impressions(path: Path, options: LogOptions) -> FileLog:
    """Open a file of impressions: every row is one. A column that it lacks is the log's, and found by its name."""
    of_lists = {name: column for name, column in options.columns.items() if name in LIST_FIELDS}
    columns = {name: column for name, column in _those_of(path, options.columns).items() if name != "action"}
    constants = dict(options.constants) | {"action": SHOWN}
    how = LogOptions(columns | of_lists, constants, options.time_unit, options.dates, options.max_skipped, shown=SHOWN)
    return _opened(path, how)


def _those_of(path: Path, columns: Mapping[str, str]) -> dict[str, str]:
    """Return those of the columns that a log's first file has."""
    has = layout_of(files_at(path).files[0].path).columns
    return {name: column for name, column in columns.items() if column in has}


def _opened(path: Path, options: LogOptions) -> FileLog:
    found = files_at(path)
    options = options if options.delimiter is None else replace(options, delimiter=delimiter_of(options.delimiter))
    looked_at = [recognise(file, options, path.is_file()) for file in found.files]
    chosen = _chosen(path, [one for one in looked_at if one.file is not None])
    if not chosen:
        raise _why_none(path, looked_at, found.strange)
    if options.shown is not None and chosen[0].kind != WIRE_FORMAT:
        raise LogError(_not_of_rows(path, chosen[0].kind))
    kind, files = chosen[0].kind, [one.file for one in chosen if one.file is not None]
    if options.history and path.is_dir() and kind != WIRE_FORMAT:
        files = [*_history(kind, files[0].path), *files]
    if options.heading is not None and not any(file.layout.type == "text" for file in files):
        raise LogError(f"--columns names the columns of text without a heading; {files[0].path} names its own")
    read = {file.path for file in files}
    left = [one for one in looked_at if one.path not in read]
    whole = path if len(chosen) > 1 else chosen[0].path
    notes = (*_of_layouts(files), *_known_as(whole, chosen[0], options), *_guesses(path, chosen))
    _check_dumped(files)
    loose = [file for file in files if not file.dumped]
    if loose and (options.time_unit != AUTO or any(file.shape.time_unit == AUTO for file in loose)):
        files, told = _in_told_unit(files, whole, options)
        notes = (*notes, *told)
    files, told = on_told_scale(files, whole)
    notes = (*notes, *told, *_rounded_ids(loose[:1]))
    notes = (*notes, *_not_read(path, files, left, found.strange))
    sort = options.sort or (kind != WIRE_FORMAT and len(files) > 1) or not loose  # each part has its own order
    now_ms = time.time_ns() // 1_000_000
    shown = PUBLIC[kind].shown if kind in PUBLIC else options.shown
    return FileLog(whole, kind, tuple(files), sort, now_ms, notes, options.max_skipped, shown=shown)


def _not_of_rows(path: Path, kind: str) -> str:
    return (
        f"{path} is read as {kind}, whose rows are translated; --shown names an action of a log with a column of "
        f"actions: say which column with --map action=COLUMN, or leave out --shown"
    )


def _check_dumped(files: Sequence[LogFile]) -> None:
    """Raise ``LogError`` where records of a topic lie beside other records, or rows, of the same."""
    topics = {file.reader.topic: file.path.name for file in files if isinstance(file.reader, ListReader)}
    if len(topics) > 1:
        raise LogError(f"{' and '.join(sorted(topics.values()))} both say what was shown; give one of them")
    dumped = [file.dumped for file in files]
    if any(dumped) and not all(dumped):
        record, other = files[dumped.index(True)].path, files[dumped.index(False)].path
        raise LogError(f"{record} holds records of a topic, and {other} is a log of its own; give one of them")


def _in_told_unit(files: Sequence[LogFile], path: Path, options: LogOptions) -> tuple[list[LogFile], tuple[str, ...]]:
    """Return the files with the one unit and order of their times, and what to say of it. Raises ``LogError``."""
    columns: dict[str, list[Any]] = {}
    for file in sampled(files):
        names = {file.shape.column(name) for name in TIMES if name not in file.shape.constants}
        with closing(file.reader.rows()) as rows:
            for row in islice(rows, SAMPLE_ROWS):
                for name in names & row.keys():
                    columns.setdefault(file.times or name, []).append(row[name])
    told = told_unit(columns, str(path), options.time_unit, options.dates)
    shapes = (replace(file.shape, time_unit=told.unit, dates=told.dates) for file in files)
    return [replace(file, shape=shape) for file, shape in zip(files, shapes, strict=True)], told.notes


def _rounded_ids(files: Sequence[LogFile]) -> Iterator[str]:
    """Yield which columns hold ids that a spreadsheet has rounded, so that many are one, or that pandas made floats."""
    for file in files:
        if file.layout.type != "text":
            continue
        columns = [file.shape.column(name) for name in NEEDED[:2] if name not in file.shape.constants]
        with closing(file.reader.rows()) as rows:
            head = list(islice(rows, SAMPLE_ROWS))
        for column in columns:
            filled = [text for row in head if (text := str(row.get(column) or ""))]
            if filled and all(map(OF_FLOATS.fullmatch, filled)):
                yield (
                    f"ids of column {column} are written as {filled[0]}, as pandas writes whole numbers beside gaps, "
                    "and are read so; export them as whole numbers, or name them so in requests"
                )
            rounded = [text for row in head if ROUNDED.fullmatch(text := str(row.get(column)))]
            if len(rounded) > len(head) / 2:
                yield (
                    f"ids of column {column} were rounded before they came, as {rounded[0]}, so that different ones "
                    "are one; export that column as text"
                )


def _history(kind: str, beside: Path) -> Sequence[LogFile]:
    """Return the file of what came before a public log, if it lies beside it."""
    history = PUBLIC[kind].history
    if history is None:
        return ()
    name, form = history
    path = beside.with_name(name)
    return (of_public(layout_of(path), form, PUBLIC[kind].vocabulary),) if path.is_file() else ()


def _chosen(path: Path, logs: list[Recognised]) -> list[Recognised]:
    """Return those files of a folder that are the log. Raises ``LogError`` where there are several logs."""
    kinds = {one.kind for one in logs}
    if len(kinds) > 1:
        names = shortened([f"{one.path.name} ({one.kind})" for one in logs])
        raise LogError(f"the folder {path} holds several logs: {names}; give the file itself, or --format")
    for name in PUBLIC[logs[0].kind].files if kinds - {WIRE_FORMAT} else ():
        if named := [one for one in logs if one.path.name == name]:
            return named
    return logs


def _why_none(path: Path, looked_at: Sequence[Recognised], strange: Sequence[Path]) -> LogError:
    if path.is_file() and (why_not := looked_at[0].why_not) is not None:
        return why_not
    names = shortened([_relative(one.path, path) for one in looked_at] + [_relative(one, path) for one in strange])
    known = f"{', '.join(sorted(PUBLIC))} as published, or files with the columns {', '.join(NEEDED)}"
    nearest = min(looked_at, key=lambda one: one.lacks, default=None)
    first = READABLE if nearest is None else nearest.why_not
    return LogError(f"the folder {path} holds no log that is known ({known}), only {names or 'nothing'}; {first}")


def _known_as(path: Path, chosen: Recognised, options: LogOptions) -> Iterator[str]:
    """Yield as what a log is read that was recognised as a public one."""
    if chosen.kind != WIRE_FORMAT and options.kind is None:
        log = PUBLIC[chosen.kind]
        actions = ", ".join(name for name in log.vocabulary.actions if name != log.shown)
        of = f"its actions {actions}" if log.shown is None else f"its actions {actions} and its lists as shown"
        yield f"{path} is read as {chosen.kind}, with {of}; --format {WIRE_FORMAT} says otherwise"


def _guesses(path: Path, chosen: Sequence[Recognised]) -> Iterator[str]:
    """Yield which columns were guessed, a line for all files that they are the same in."""
    said = Counter(", ".join(f"{name} is {column}" for name, column in one.guesses.items()) for one in chosen)
    for columns, count in said.items():
        if columns:
            where = path if count == len(chosen) else f"{count:,} of {len(chosen):,} files of {path}"
            yield f"{where}: by the names of its columns, {columns}; --map says otherwise"


def _of_layouts(files: Sequence[LogFile]) -> Iterator[str]:
    """Yield what is to be said of how the rows of a file lie; of many files that of the first."""
    noted = [file for file in files if file.layout.notes]
    for note in noted[0].layout.notes if noted else ():
        yield note if len(noted) == 1 else f"{note}; so it is in {len(noted):,} files"


def _not_read(
    path: Path, files: Sequence[LogFile], left: Sequence[Recognised], strange: Sequence[Path]
) -> Iterator[str]:
    """Yield what of a folder is not read."""
    names = [_relative(one.path, path) for one in left] + [_relative(one, path) for one in strange]
    if names:
        read = shortened([_relative(file.path, path) for file in files])
        yield f"{path}: read {read}; not read, as they are no log of this kind: {shortened(names)}"


def _relative(file: Path, folder: Path) -> str:
    return str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file)
