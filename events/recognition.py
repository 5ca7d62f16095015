"""Whether one file is a log, and how its rows become actions: by its columns, by what is said of them, by their names.

::

    the file  ->  layout (readers/text.py)  ->  a public log's form (public/)              ->  Recognised with a reader
                                            ->  columns of the wire, or guessed (guess.py)
                                            ->  neither: Recognised with the reason
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from rankstream.events.arrivals import LogError
from rankstream.events.file_log import LogFile
from rankstream.events.files import PlacedFile
from rankstream.events.guess import fitting
from rankstream.events.log_kind import WIRE_FORMAT
from rankstream.events.log_options import LogOptions
from rankstream.events.public import PUBLIC, published_as
from rankstream.events.public.batches import Form
from rankstream.events.readers.clocks import PLUS, may_be_parts, named_parts, told_parts
from rankstream.events.readers.dates import AUTO, like_a_time
from rankstream.events.readers.dumped import OF_LISTS, OTHER, USER_ACTIONS, ActionReader, topic_of
from rankstream.events.readers.json_lines import LIST_FIELDS, NEEDED, JsonReader
from rankstream.events.readers.nested import DOT, paths_of
from rankstream.events.readers.plain import PlainReader
from rankstream.events.readers.rows import NOTHING, Shape, json_row, rows_of
from rankstream.events.readers.shown_lists import ListReader
from rankstream.events.readers.text import Layout, check_names, layout_of, needs_pyarrow, why_no_heading
from rankstream.events.readers.times import TIMES
from rankstream.events.readers.which_time import fuller, of_the_action
from rankstream.events.skipped import listed, shown
from rankstream.features.actions import Vocabulary

FIRST_ROWS = 100  # that tell which of several columns holds a field
EMPTY = (None, "")
NOT_ALWAYS_LOGS = (".txt", ".dat", ".data", ".json")  # endings of much else, too


@dataclass(frozen=True)
class Recognised:
    """A file that may be of a log."""

    file: LogFile | None  # None if it isn't
    path: Path
    kind: str = WIRE_FORMAT  # or a public log's
    guesses: Mapping[str, str] = field(default_factory=dict)  # field -> the column that its name speaks for
    why_not: LogError | None = None
    lacks: int = len(NEEDED)  # how many of the needed fields it has no column for, if it isn't one


def recognise(placed: PlacedFile, options: LogOptions, alone: bool) -> Recognised:
    """Look at a file, and at how it would be read. Raises ``LogError`` for a log that can't be."""
    path, kind = placed.path, options.kind
    try:
        layout = layout_of(path, options.delimiter, options.heading)
    except LogError as why_not:
        if alone or (path.suffix.lower() not in NOT_ALWAYS_LOGS and options.heading is None):
            raise
        return Recognised(None, path, why_not=why_not)
    if kind in (None, WIRE_FORMAT) and (topic := topic_of(layout)) is not None:
        return _of_records(layout, topic, options)
    named = options.columns or options.constants or set(NEEDED) <= set(layout.columns)
    if kind in PUBLIC or (kind is None and not named):
        if (published := published_as(layout, kind)) is not None:
            name, form, as_form = published
            check_names(as_form)
            return Recognised(of_public(as_form, form, PUBLIC[name].vocabulary), path, name)
        if kind in PUBLIC:
            return Recognised(None, path, why_not=_not_of(layout, kind or ""))
    layout = _with_paths(layout, options)
    layout, options = _with_parts(layout, options)
    shape, fits = _shape_of(placed, options, layout.columns)
    layout, fits = _told_by_values(layout, fits, options)
    shape = replace(shape, sources={**shape.sources, **{name: found[0] for name, found in fits.items()}})
    try:
        if layout.type == "text" and not layout.columns and layout.first_rows:
            raise why_no_heading(layout)
        if layout.type != "json" or not alone:  # a later line may have other keys than the first ones
            shape.check(path, layout.columns, NEEDED)
    except LogError as why_not:
        missing = [name for name in NEEDED if name not in shape.constants and shape.column(name) not in layout.columns]
        return Recognised(None, path, why_not=_why_not(why_not, layout, shape, missing), lacks=len(missing))
    for name, columns in fits.items():
        if len(columns) > 1 and name in NEEDED:
            raise LogError(
                f"{path} has several columns that may hold {name}, {' and '.join(columns)}; say which with "
                f"--map {name}={columns[0]}{_first_row(layout, columns)}"
            )
    check_names(layout)
    guesses = {name: one for name, (one, *_) in fits.items()}
    if layout.parts is not None and "timestamp_ms" in guesses:
        guesses["timestamp_ms"] = str(layout.parts)
    return Recognised(_of_the_wire(layout, shape, options.fields), path, WIRE_FORMAT, guesses)


def _told_by_values(
    layout: Layout, fits: Mapping[str, list[str]], options: LogOptions
) -> tuple[Layout, dict[str, list[str]]]:
    """Return which columns fit by what the first rows hold, too: not those that are empty, nor the day of a time.

    Where columns hold the parts of one time, the first of them fits, and the layout says which they are.
    """
    times = fits.get("timestamp_ms", [])
    asked = not {"timestamp_ms"} & {*options.columns, *options.constants, *layout.columns}
    if all(len(columns) == 1 for columns in fits.values()) and not (asked and may_be_parts(layout.columns)):
        return layout, dict(fits)
    rows = list(islice(rows_of(layout), FIRST_ROWS))
    if asked and (parts := told_parts(times, layout.columns, rows)) is not None:
        layout, fits = replace(layout, parts=parts), {**fits, "timestamp_ms": [parts.first]}
    found = {}
    for name, columns in fits.items():
        filled = [column for column in columns if any(row.get(column) not in EMPTY for row in rows)] or columns
        whole = fuller(filled, rows) if name == "timestamp_ms" else None
        found[name] = filled if whole is None else [whole]
    if len(candidates := found.get("timestamp_ms", [])) > 1:
        ids = [options.columns.get(name, found.get(name, [name])[0]) for name in ("item_id", "user_id")]
        found["timestamp_ms"] = of_the_action(candidates, rows, ids)
    return layout, found


def _with_paths(layout: Layout, options: LogOptions) -> Layout:
    """Return what is to be read of a file of whose objects fields are named, ``actor.id``, also as parts of a time."""
    named = [part for column in options.columns.values() for part in (column, *column.split(PLUS))]
    deeper = (
        name for name in named if name in layout.inner or (layout.type == "json" and DOT in name and PLUS not in name)
    )
    paths = tuple(dict.fromkeys(name for name in deeper if name not in layout.columns))
    return replace(layout, paths=paths, columns=(*layout.columns, *paths)) if paths else layout


def _with_parts(layout: Layout, options: LogOptions) -> tuple[Layout, LogOptions]:
    """Return what is to be read of a file whose times are named as several columns, ``Date+Time``."""
    named = options.columns.get("timestamp_ms", "")
    parts = named_parts(named, layout.columns)
    if parts is None:
        return layout, options
    return replace(layout, parts=parts), replace(options, columns={**options.columns, "timestamp_ms": parts.first})


def _of_records(layout: Layout, topic: str, options: LogOptions) -> Recognised:
    """Return a file of a topic's records, if they are what is asked for: actions, or what was shown."""
    if options.all_shown:
        if topic in OF_LISTS:
            shape = Shape(constants={"action": options.constants["action"]}, time_unit="ms")
            return Recognised(LogFile(layout, ListReader(layout, topic), shape, dumped=True), layout.path)
        wanted = f"impressions are in {' or '.join(OF_LISTS)}: `rankstream topics dump` them, and give that file"
    else:
        if topic == USER_ACTIONS:
            return Recognised(LogFile(layout, ActionReader(layout), Shape(), dumped=True), layout.path)
        shown = ", and what was shown is given with --impressions" if topic in OF_LISTS else ""
        wanted = f"a log is made of {USER_ACTIONS}{shown}"
    what = topic if topic != OTHER else "another topic"
    return Recognised(None, layout.path, why_not=LogError(f"{layout.path} holds records of {what}; {wanted}"), lacks=0)


def _first_row(layout: Layout, columns: Collection[str]) -> str:
    """Return what the first row holds in some columns, in words; nothing where there is none, or it can't be read."""
    row = next(rows_of(layout, columns), {})
    held = [f"{name} is {shown(row[name])}" for name in columns if name in row]
    return f"; in the first row {', '.join(held)}" if held else ""


def _why_not(why_not: LogError, layout: Layout, shape: Shape, missing: Sequence[str]) -> LogError:
    """Return the refusal of a file that lacks columns, with those that may be meant, or what else may be wrong."""
    if not layout.columns:
        return why_not
    perhaps = paths_of(layout.inner, missing)
    times = _hold_times(layout, shape) if "timestamp_ms" in missing else []
    if len(times) == 1:
        perhaps["timestamp_ms"] = times[0]
    try:
        shape.check(layout.path, layout.columns, NEEDED, perhaps, times)
    except LogError as with_names:
        why_not = with_names
    return LogError(f"{why_not}{_perhaps(layout, len(missing))}")


def _hold_times(layout: Layout, shape: Shape) -> list[str]:
    """Return the columns whose first values are dates or numbers of a time, all that there are, and not all alike."""
    rows = list(islice(rows_of(layout), FIRST_ROWS))
    taken = {shape.column(name) for name in NEEDED if name != "timestamp_ms"}
    values = {name: [row.get(name) for row in rows] for name in layout.columns if name not in taken}
    filled = {name: [one for one in held if one not in EMPTY] for name, held in values.items()}
    return [name for name, held in filled.items() if held and all(map(like_a_time, held))]


def _perhaps(layout: Layout, lacks: int) -> str:
    """Return what else may be wrong with text in which nothing is called as usual."""
    if layout.type != "text" or lacks < len(NEEDED) or not layout.columns:
        return ""
    if len(layout.columns) > 1:
        return "; if that is a row and no heading, name the columns with --columns NAME,NAME,..."
    if "  " in layout.columns[0].strip():
        name = layout.path.name
        return f"; if spaces are between its columns, leave one: tr -s ' ' < {name} > single-{name}"
    return "; if that is several columns, say what is between them with --delimiter"


def _shape_of(placed: PlacedFile, options: LogOptions, columns: Collection[str]) -> tuple[Shape, dict[str, list[str]]]:
    """Return how rows of a file become actions, and which columns were guessed, all that fit.

    What the folders say (``action=view/``) counts where the file has no such column.
    """
    said = {name: column for name, column in options.columns.items() if column in placed.partitions.keys() - columns}
    constants = {name: placed.partitions[column] for name, column in said.items()} | dict(options.constants)
    sources = {name: column for name, column in options.columns.items() if name not in said}
    left = [name for name in options.fields if name not in (*sources, *constants, *columns)]
    left = left if options.lists else [name for name in left if name not in LIST_FIELDS]
    fits = fitting(columns, left, {*sources.values(), *set(options.fields).intersection(columns)})
    fits = {name: found for name, found in fits.items() if len(found) == 1 or name in NEEDED}
    sources |= {name: found[0] for name, found in fits.items()}
    left = [name for name in left if name not in fits and name not in TIMES]
    for name, keys in fitting(placed.partitions, left).items():
        if value := placed.partitions[keys[0]]:
            constants[name] = value
    return Shape(sources, constants, AUTO), fits


def _of_the_wire(layout: Layout, shape: Shape, fields: Collection[str]) -> LogFile:
    if layout.type == "json":
        return LogFile(layout, JsonReader(layout.path, layout.whole if layout.parts or layout.paths else None), shape)
    shape = replace(shape, nothing=NOTHING)
    columns = tuple(dict.fromkeys(column for name in fields if (column := shape.column(name)) in layout.columns))
    try:
        from rankstream.events.readers.columns import ColumnReader, written_vocabulary
    except ImportError as exc:
        if layout.type == "text":
            return LogFile(layout, PlainReader(layout, columns), shape)
        raise needs_pyarrow(layout.path) from exc
    written = written_vocabulary(layout.path) if layout.type == "parquet" else None
    return LogFile(layout, ColumnReader(layout, columns), shape, written)


def of_public(layout: Layout, form: Form, vocabulary: Vocabulary) -> LogFile:
    """Return a file of a public log with its reader. Raises ``LogError``."""
    try:
        from rankstream.events.readers.columns import ColumnReader
    except ImportError as exc:
        raise needs_pyarrow(layout.path) from exc
    parse = form.parse or ((lambda line: [json_row(line)]) if layout.type == "json" else None)
    reader = ColumnReader(layout, form.columns, form.translation, parse)
    return LogFile(layout, reader, Shape(time_unit=form.time_unit), vocabulary, form.times)


def _not_of(layout: Layout, kind: str) -> LogError:
    """Return the refusal of a file that is not the public log that it was said to be."""
    if layout.type == "text" and not layout.columns and layout.first_rows:
        return why_no_heading(layout)
    has = [name.partition(":")[0] for name in layout.columns]
    wanted = min((form.columns for form in PUBLIC[kind].forms), key=lambda one: len(set(one) - set(has)))
    missing = ", ".join(name for name in wanted if name not in has)
    return LogError(f"{layout.path} is no {kind}: it has no column {missing}; it has {listed(has)}")
