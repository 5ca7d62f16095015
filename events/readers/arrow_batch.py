"""One batch of columns to arrivals, whole columns at once.

Rows that are plainly sound are packed from columns; every other row, and every column of an unusual type, is read by
``json_lines.Reading.event``, which names what is wrong with it. So the fast reader and the plain one can't differ in
what they accept, only in speed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rankstream.events.action_event import MAX_AHEAD_MS, MIN_TIME_MS
from rankstream.events.arrivals import Arrivals, Ints, Values, concatenated, pack_columns
from rankstream.events.column import Numbers, TextKeys, Texts
from rankstream.events.readers.json_lines import FIELDS, INFINITE, UNKNOWN_SURFACE, Reading
from rankstream.events.readers.rows import MAX_WHOLE_FLOAT, NEVER_NOTHING, Row, Shape
from rankstream.events.readers.time_columns import as_values, times_of_column
from rankstream.events.skipped import shown
from rankstream.features.ids import HASHED, MAX_ID_BYTES, Id, Keys, id_key

Bools = npt.NDArray[np.bool_]
Batch = Any  # pyarrow.RecordBatch
Column = Any  # pyarrow.Array

MAX_NAME = 64  # characters of an action or a surface, as on the wire


def arrivals_of_batch(batch: Batch, reading: Reading, numbers: Ints | None = None) -> Arrivals:
    """Pack the sound rows at once and the others one by one, in the order of the rows.

    ``numbers`` are those of the rows in their file, from 1.
    """
    fast, sound = _sound_rows(batch, reading, numbers)
    if sound.all():
        return fast
    rows = np.flatnonzero(~sound)
    given = None if numbers is None else numbers[rows].tolist()
    events = list(reading.events(rows_of_batch(batch.take(pa.array(rows))), given))
    slow = reading.pack([event for event in events if event is not None])
    taken = rows[[event is not None for event in events]]
    whole = concatenated([fast, slow])
    return whole.taken(np.argsort(np.concatenate([np.flatnonzero(sound), taken]), kind="stable")).numbered(0)


def rows_of_batch(batch: Batch) -> list[Row]:
    """Return the rows of a batch, one by one; times of any unit and year are texts (``time_columns.as_values``)."""
    columns = [_values_of(column) for column in batch.columns]
    return [dict(zip(batch.schema.names, values, strict=True)) for values in zip(*columns, strict=True)]


def _values_of(column: Column) -> list[Any]:
    try:
        values: list[Any] = as_values(column).to_pylist()
    except (ValueError, OverflowError):  # times within lists that Python can't hold
        values = [f"a {column.type}"] * len(column)
    return values


def _sound_rows(batch: Batch, reading: Reading, numbers: Ints | None) -> tuple[Arrivals, Bools]:
    """Pack the rows that are plainly sound; return them, and which rows they are."""
    shape, vocabulary, count = reading.shape, reading.vocabulary, batch.num_rows
    given = {name: given_column(batch, shape, name) for name in FIELDS}
    times, sound = _times(given["timestamp_ms"], shape, "timestamp_ms", count)
    arrived = times
    if given["arrived_ms"] is None:
        sound &= times <= reading.now_ms + MAX_AHEAD_MS
    else:
        arrived, with_arrival = _times(given["arrived_ms"], shape, "arrived_ms", count)
        sound &= with_arrival & (times <= arrived + MAX_AHEAD_MS)
    sound &= times >= MIN_TIME_MS
    codes = _codes(given["action"], vocabulary.action_codes, unknown=-1, count=count)
    surfaces = _codes(given["surface"], vocabulary.surface_codes, unknown=0, count=count)
    values, with_value = _values(_without(given["value"], shape), count)
    sound &= (codes > 0) & (surfaces >= 0) & with_value
    users, user_keys, with_user = _users(_without(given["user_id"], shape), count)
    items, item_keys, with_item = _items(_without(given["item_id"], shape), count)
    sound &= with_user & with_item
    list_ids, with_list = _optional_ids(_without(given["list_id"], shape), count)
    collection_ids, with_collection = _optional_ids(_without(given["collection_id"], shape), count)
    sound &= with_list & with_collection
    positions: Ints | None = None
    if reading.positions:
        positions, with_position = _positions(_without(given_column(batch, shape, "position"), shape), count)
        sound &= with_position
    _count_lost(given["surface"], vocabulary.surface_codes, values, sound, reading, numbers)
    packed = pack_columns(
        users, items, codes, times, surfaces, values, arrived, user_keys=user_keys, item_keys=item_keys,
        list_ids=list_ids, positions=positions, collection_ids=collection_ids,
    )  # fmt: skip
    return packed if sound.all() else packed.taken(np.flatnonzero(sound)), sound


def given_column(batch: Batch, shape: Shape, name: str) -> Column | None:
    """Return a field's column; None where the log has none."""
    if name in shape.constants:
        return pa.array([shape.constants[name]] * batch.num_rows, pa.string())
    at = batch.schema.get_field_index(shape.column(name))
    column = None if at < 0 else batch.column(at)
    if column is not None and shape.nothing and name in NEVER_NOTHING and pa.types.is_integer(column.type):
        return column.cast(pa.string())
    return column


def _without(column: Column | None, shape: Shape) -> Column | None:
    """Return a column of texts without those that stand for no value; any other as it is."""
    if column is None or not shape.nothing or not is_text(column.type):
        return column
    names = column.dictionary if pa.types.is_dictionary(column.type) else column
    nothing = pa.array(sorted(shape.nothing), names.type)
    if not pc.any(_is_nothing(names, nothing)).as_py():
        return column
    column = plain(column)
    return pc.if_else(_is_nothing(column, nothing), None, column)


def _is_nothing(texts: Column, nothing: Column) -> Column:
    return pc.or_(pc.is_in(texts, value_set=nothing), pc.fill_null(pc.utf8_is_space(texts), False))


def is_text(kind: Any) -> bool:
    """Return whether a type is text, written out or by a dictionary."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def plain(column: Column) -> Column:
    """Return a column without a dictionary."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _names(column: Column) -> tuple[list[str], Ints]:
    """Return the distinct texts of a column, and which one each row has; -1 for null."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    return column.dictionary.to_pylist(), _names_of_rows(column)


def _names_of_rows(column: Column) -> Ints:
    """Return which text of its dictionary each row of a column has; -1 for null."""
    which: Ints = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return which


def _count_lost(
    surfaces: Column | None,
    known: dict[str, int],
    values: Values,
    sound: Bools,
    reading: Reading,
    numbers: Ints | None,
) -> None:
    """Count surfaces and values of sound rows that a packed action can't have, as ``Reading.pack`` does of others."""
    infinite = np.isinf(values) & sound
    if infinite.any():
        where = reading.where(None if numbers is None else int(numbers[infinite.argmax()]))
        reading.skipped.ignore(INFINITE, "value is inf", where, int(infinite.sum()))
    if surfaces is None or not is_text(surfaces.type):
        return
    names, which = _names(surfaces)
    unknown = np.array([bool(name) and name not in known for name in names] + [False])[which] & sound
    if unknown.any():
        at = int(unknown.argmax())
        where = reading.where(None if numbers is None else int(numbers[at]))
        reading.skipped.ignore(UNKNOWN_SURFACE, f"surface is {shown(names[which[at]])}", where, int(unknown.sum()))


def _users(column: Column | None, count: int) -> tuple[Sequence[Id], TextKeys, Bools]:
    """Return ids, their Kafka keys, and which rows have one."""
    if column is not None and pa.types.is_integer(column.type):
        return _numbers(column), _texts(column.cast(pa.string())).keys, _given(column)
    texts, usable = _text_ids(column, count)
    return texts, texts.keys, usable


def _items(column: Column | None, count: int) -> tuple[Sequence[Id], Keys, Bools]:
    """Return ids, their 64-bit keys, and which rows have one."""
    if column is not None and pa.types.is_integer(column.type):
        ids = _numbers(column)
        keys = ids.numbers.astype(np.uint64)
        for at in np.flatnonzero((ids.numbers < 0) | (keys >= HASHED)).tolist():
            keys[at] = id_key(ids[at])
        return ids, keys, _given(column)
    texts, usable = _text_ids(column, count)
    if column is None or not is_text(column.type):
        return texts, np.zeros(count, np.uint64), usable
    names, which = _names(column)
    return texts, np.array([*(id_key(name or "") for name in names), 0], np.uint64)[which], usable


def _numbers(column: Column) -> Numbers:
    return Numbers(column.fill_null(0).to_numpy(zero_copy_only=False))


def _given(column: Column) -> Bools:
    given: Bools = column.is_valid().to_numpy(zero_copy_only=False)
    return given


def _text_ids(column: Column | None, count: int) -> tuple[Texts, Bools]:
    """Return ids that are texts, and which rows have one; none where the column is of another type."""
    if column is None or not is_text(column.type):
        return Texts(b"", np.zeros((count, 2), np.int64)), np.zeros(count, np.bool_)
    if pa.types.is_dictionary(column.type) and column.dictionary.null_count:
        column = plain(column)
    texts = _texts(column)
    lengths = texts.spans[:, 1] - texts.spans[:, 0]  # in bytes: only where those are many are characters counted
    if (lengths > MAX_ID_BYTES).any():
        lengths = pc.fill_null(pc.utf8_length(plain(column)), 0).to_numpy(zero_copy_only=False)
    return texts, _given(column) & (lengths > 0) & (lengths <= MAX_ID_BYTES)


def _texts(column: Column) -> Texts:
    """Return a column of texts as they lie in Arrow's buffers; a null is any text."""
    if pa.types.is_dictionary(column.type):
        of_names = _texts(column.dictionary)
        spans = np.append(of_names.spans, [[0, 0]], axis=0)
        return Texts(of_names.data, spans[_names_of_rows(column)])
    _, ends, data = column.buffers()
    spans = np.zeros((len(column), 2), np.int64)
    if data is None or not len(column):
        return Texts(b"", spans)
    kind = np.int64 if pa.types.is_large_string(column.type) else np.int32
    ends = np.frombuffer(ends, kind)[column.offset : column.offset + len(column) + 1]
    begin, end = int(ends[0]), int(ends[-1])
    np.subtract(ends[:-1], begin, out=spans[:, 0])
    np.subtract(ends[1:], begin, out=spans[:, 1])
    return Texts(data[begin:end].to_pybytes(), spans)


def _optional_ids(column: Column | None, count: int) -> tuple[list[Id | None], Bools]:
    """Return the ids of shown lists, or of collections, None for none, and which rows need no second look."""
    everywhere = np.ones(count, np.bool_)
    if column is None or pa.types.is_null(column.type):
        return [None] * count, everywhere
    if pa.types.is_integer(column.type):
        return column.to_pylist(), everywhere
    if not is_text(column.type):
        return [None] * count, ~column.is_valid().to_numpy(zero_copy_only=False)
    names, which = _names(column)
    usable = np.array([not name or len(name) <= MAX_ID_BYTES for name in names] + [True])
    ids = np.array([*(name or None for name in names), None], object)
    return ids[which].tolist(), usable[which]


def _positions(column: Column | None, count: int) -> tuple[Ints, Bools]:
    """Return positions, -1 for none, and which rows need no second look."""
    if column is None or pa.types.is_null(column.type):
        return np.full(count, -1), np.ones(count, np.bool_)
    numbers, sound = _values(column, count)
    given = ~np.isnan(numbers)
    whole = given & (numbers == np.floor(numbers)) & (numbers < MAX_WHOLE_FLOAT)
    return np.where(whole, numbers, -1).astype(np.int64), sound & (whole | ~given)


def _codes(column: Column | None, codes: dict[str, int], unknown: int, count: int) -> Ints:
    """Return the codes of names: 0 for none, -1 for rows that need a second look."""
    if column is None or pa.types.is_null(column.type):
        return np.zeros(count, np.int64)
    if not is_text(column.type):
        return np.full(count, -1)
    names, which = _names(column)
    of_names = [0 if not name else -1 if len(name) > MAX_NAME else codes.get(name, unknown) for name in names]
    return np.array([*of_names, 0], np.int64)[which]


def _times(column: Column | None, shape: Shape, name: str, count: int) -> tuple[Ints, Bools]:
    if column is None:
        return np.zeros(count, np.int64), np.zeros(count, np.bool_)
    return times_of_column(column, shape.unit_of(name), shape.dates)


def _values(column: Column | None, count: int) -> tuple[Values, Bools]:
    """Return values, NaN for none, and which rows need no second look."""
    everywhere, none = np.ones(count, np.bool_), np.full(count, np.nan)
    if column is None or pa.types.is_null(column.type):
        return none, everywhere
    given = column.is_valid().to_numpy(zero_copy_only=False)
    if is_text(column.type):
        column = plain(column)
        given = given & (pc.fill_null(pc.utf8_length(column), 0).to_numpy(zero_copy_only=False) > 0)
        try:
            column = pc.if_else(pa.array(given), column, None).cast(pa.float64())
        except pa.ArrowInvalid:
            return none, ~given
        numbers = column.fill_null(0).to_numpy(zero_copy_only=False)
        sound = np.isfinite(numbers)
    elif pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        numbers = column.fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)
        sound = everywhere
    else:
        return none, ~given
    sound = sound & ~(numbers < 0)
    return np.where(given, numbers, np.nan), sound
