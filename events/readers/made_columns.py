"""Columns of a batch that its file has in parts: times of several columns, and fields within structures of Parquet."""

from collections.abc import Collection
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rankstream.events.readers.clocks import JoinedTime, part_text
from rankstream.events.readers.nested import DOT
from rankstream.events.readers.text import Layout
from rankstream.events.readers.time_columns import as_values

Batch = Any  # pyarrow.RecordBatch
Column = Any  # pyarrow.Array


class MadeColumns:
    """The columns that are wanted of a file, and those that are read for them; ``Layout.whole`` is the plain twin."""

    def __init__(self, layout: Layout, wanted: Collection[str]) -> None:
        """``wanted`` are names of ``layout.columns``."""
        parts = layout.parts
        self._parts = parts if parts is not None and parts.first in wanted else None
        self._wanted, self._paths = tuple(wanted), frozenset(layout.paths)
        given = dict.fromkeys((*self._wanted, *(self._parts.columns if self._parts else ())))
        self.read = list(dict.fromkeys(self._top(name) for name in given))

    def of(self, batch: Batch) -> Batch:
        """Return the wanted columns of a batch of those that are read."""
        if self._parts is None and not self._paths:
            return batch
        columns = [self._column(batch, name) for name in self._wanted]
        return pa.RecordBatch.from_arrays(columns, list(self._wanted))

    def _top(self, name: str) -> str:
        return name.partition(DOT)[0] if name in self._paths else name

    def _column(self, batch: Batch, name: str) -> Column:
        if self._parts is not None and name == self._parts.first:
            return _whole_times(self._parts, [self._given(batch, one) for one in self._parts.columns])
        return self._given(batch, name)

    def _given(self, batch: Batch, name: str) -> Column:
        column = batch.column(self._top(name))
        for inner in name.split(DOT)[1:] if name in self._paths else ():
            column = pc.struct_field(column, inner)
        return column


def struct_paths(schema: Any) -> list[str]:
    """Return the paths of the fields that lie in structures of a schema."""
    return [path for field in schema for path in _walked(field, ()) if DOT in path and path != field.name]


def _walked(field: Any, above: tuple[str, ...]) -> list[str]:
    if not pa.types.is_struct(field.type):
        return [DOT.join((*above, field.name))]
    return [path for one in field.type for path in _walked(one, (*above, field.name))]


def _whole_times(parts: JoinedTime, columns: list[Column]) -> Column:
    """Return whole times of their parts, as ``JoinedTime.joined``."""
    whole, *others = map(_part_texts, columns)
    for name, text, between in zip(parts.columns[1:], others, parts.between, strict=True):
        if name in parts.two_digits:
            text = pc.if_else(pc.equal(text, ""), text, pc.utf8_lpad(text, 2, "0"))
        whole = pc.binary_join_element_wise(whole, text, between)
    return pc.utf8_trim(whole, characters=parts.ends)


def _part_texts(column: Column) -> Column:
    """Return parts of times as texts, empty for null."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_floating(column.type):
        column = pa.array([part_text(value) for value in column.to_pylist()], pa.string())
    if pa.types.is_timestamp(column.type):
        column = as_values(column)
    return pc.fill_null(column.cast(pa.string()), "")
