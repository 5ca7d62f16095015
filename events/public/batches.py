"""How a public log is described to its readers, and the columns of a batch that its translation reads and writes.

::

    a file's own columns  ->  translation, a batch at a time  ->  the wire's columns, as any log has them
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rankstream.events.arrivals import LogError
from rankstream.events.readers.arrow_batch import Batch, Translate
from rankstream.features.actions import Vocabulary

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PublicLog:
    """A log as it is published: how it is recognised, and how its rows become actions."""

    columns: tuple[str, ...]  # those that are read, and that it is recognised by
    vocabulary: Vocabulary
    files: tuple[str, ...]  # its name in a folder, the preferred one first
    translation: Callable[[], Translate]  # a new one for each pass: it may remember rows
    history: "PublicLog | None" = None  # a file beside it, with what users did before


def wire(**columns: Any) -> Batch:
    """Return a batch of these columns."""
    return pa.RecordBatch.from_arrays(
        [column if isinstance(column, pa.Array) else pa.array(column) for column in columns.values()], list(columns)
    )


def named(indices: Ints, names: Sequence[str]) -> Any:
    """Return names by index, null for a negative one."""
    return pa.DictionaryArray.from_arrays(pa.array(indices, mask=indices < 0), pa.array(names, pa.string()))


def integers(batch: Batch, name: str) -> Ints:
    """Return a column as integers. Raises ``LogError`` where one is missing."""
    column: Ints = _cast(batch, name, pa.int64()).to_numpy(zero_copy_only=False)
    return column


def floats(batch: Batch, name: str) -> Floats:
    """Return a column as floats, NaN for none."""
    column: Floats = _cast(batch, name, pa.float64()).to_numpy(zero_copy_only=False)
    return column


def ms_of_seconds(batch: Batch, name: str) -> Any:
    """Return a column of seconds as milliseconds, null for none."""
    seconds = floats(batch, name)
    ms = np.round(np.where(np.isfinite(seconds), seconds, 0) * 1000).astype(np.int64)
    return pa.array(ms, mask=~np.isfinite(seconds))


def _cast(batch: Batch, name: str, kind: Any) -> Any:
    """Return a column as numbers: those of a CSV file are text."""
    column = batch.column(name)
    try:
        if pa.types.is_string(column.type):
            column = pa.compute.if_else(pa.compute.equal(column, ""), None, column)
        column = column.cast(kind)
        if kind == pa.int64() and column.null_count:
            raise LogError(f"column {name} has rows without a number; take them out")
    except pa.ArrowInvalid as exc:
        raise LogError(f"column {name} holds no numbers ({' '.join(str(exc).split())}); take those rows out") from exc
    return column
