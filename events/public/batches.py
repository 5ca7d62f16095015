"""How a public log is described to its readers, and the columns of a batch that its translation reads and writes.

::

    a file's own columns  ->  translation, a batch at a time  ->  the wire's columns, as any log has them

Logs are described without pyarrow, which their translations need: a worker's installation knows their names.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankstream.events.arrivals import LogError
from rankstream.events.log_kind import LogKind
from rankstream.events.skipped import Skipped
from rankstream.features.actions import Vocabulary

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Batch = Any  # pyarrow.RecordBatch
Column = Any  # pyarrow.Array
Translate = Callable[[Batch], Batch]
Translation = Callable[[Skipped], Translate]  # handed what the pass skips, where it counts what it leaves out


@dataclass(frozen=True)
class Form:
    """One form in which a log is published; files of columns are recognised by their names, others by their rows."""

    columns: tuple[str, ...]  # those that are read
    translation: Translation  # a new one for each pass: it may remember rows
    times: str  # the column of its times
    time_unit: str  # of its times; ``auto`` where files of these columns are no longer always as they were published
    # Of text without a heading: the names of all columns, and a regular expression for each that its fields match.
    fields: tuple[tuple[str, str], ...] = ()
    delimiters: tuple[str, ...] = (",",)
    quoted: bool = True  # whether a quote is more than a letter
    # Of lines that are no JSON objects: the file's ending, and what makes rows of a line.
    ending: str = ""
    parse: Callable[[bytes], Iterable[dict[str, Any]]] | None = None


@dataclass(frozen=True)
class PublicLog:
    """A log as it is published: how it is recognised, how its rows become actions, and what those mean to training."""

    kind: LogKind
    vocabulary: Vocabulary
    forms: tuple[Form, ...]
    files: tuple[str, ...] = ()  # names that hold the whole log: of several in a folder, the first of these is read
    history: tuple[str, Form] | None = None  # a file beside it, with what users did before
    shown: str | None = None  # the action whose rows say what was shown, list by list, and are no actions
    # The form of a file with these columns; for one that is said to be of this kind and is not as published.
    like: Callable[[Sequence[str]], Form | None] = lambda columns: None


def wire(**columns: Any) -> Batch:
    """Return a batch of these columns."""
    import pyarrow as pa

    return pa.RecordBatch.from_arrays(
        [column if isinstance(column, pa.Array) else pa.array(column) for column in columns.values()], list(columns)
    )


def named(indices: Ints, names: Sequence[str]) -> Column:
    """Return names by index, null for a negative one."""
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(indices, mask=indices < 0), pa.array(names, pa.string()))


def renamed(column: Column, names: dict[str, str]) -> Column:
    """Return a column of texts by other names; a text that has none keeps its own, which no vocabulary knows."""
    import pyarrow as pa

    encoded = column.dictionary_encode() if not pa.types.is_dictionary(column.type) else column
    others = pa.array([names.get(one, one) for one in encoded.dictionary.to_pylist()], pa.string())
    return pa.DictionaryArray.from_arrays(encoded.indices, others)


def always(name: str, count: int) -> Column:
    """Return a column of one text."""
    return named(np.zeros(count, np.int64), (name,))


def known(values: Floats, some: npt.NDArray[np.bool_]) -> Column:
    """Return values, null where they are none."""
    import pyarrow as pa

    return pa.array(values, mask=~some)


def integers(batch: Batch, name: str) -> Ints:
    """Return a column as integers. Raises ``LogError`` where one is missing."""
    column: Ints = _cast(batch, name, "int64").to_numpy(zero_copy_only=False)
    return column


def floats(batch: Batch, name: str) -> Floats:
    """Return a column as floats, NaN for none."""
    column: Floats = _cast(batch, name, "float64").to_numpy(zero_copy_only=False)
    return column


def _cast(batch: Batch, name: str, kind: str) -> Column:
    """Return a column as numbers: those of a CSV file are text."""
    import pyarrow as pa

    column = batch.column(name)
    try:
        if pa.types.is_string(column.type):
            column = pa.compute.if_else(pa.compute.equal(column, ""), None, column)
            if not pa.compute.any(pa.compute.match_substring(column, ".")).as_py():  # 3,5 stars of a spreadsheet
                column = pa.compute.replace_substring(column, ",", ".")
        column = column.cast(kind)
        if kind == "int64" and column.null_count:
            raise LogError(f"column {name} has rows without a number; take them out")
    except pa.ArrowInvalid as exc:
        raise LogError(f"column {name} holds no numbers ({' '.join(str(exc).split())}); take those rows out") from exc
    return column
