"""Columns of ids of any type as texts or whole numbers; ``rows.plain_id`` is the plain twin, one value at a time."""

from typing import Any

import numpy as np
import pyarrow as pa

from rankstream.events.readers.arrow_batch import Batch
from rankstream.events.readers.rows import IDS, MAX_WHOLE_FLOAT, Shape


def with_plain_ids(batch: Batch, shape: Shape) -> Batch:
    """Return a batch whose ids are texts or whole numbers where all are, as ``rows.plain_id`` reads them one by one."""
    for name in IDS:
        at = batch.schema.get_field_index(shape.column(name)) if name not in shape.constants else -1
        if at >= 0 and (column := _plain_ids(batch.column(at))) is not None:
            batch = batch.set_column(at, batch.schema.names[at], column)
    return batch


def _plain_ids(column: Any) -> Any | None:
    """Return a column of ids as texts or whole numbers; None where it is one of those, or can't be."""
    kind = column.type
    try:
        if pa.types.is_dictionary(kind) and not pa.types.is_string(kind.value_type):
            decoded = column.dictionary_decode()
            return found if (found := _plain_ids(decoded)) is not None else decoded
        if pa.types.is_floating(kind):
            numbers = column.cast(pa.float64()).fill_null(0).to_numpy(zero_copy_only=False)
            some = np.nan_to_num(numbers)
            if (np.abs(some) < MAX_WHOLE_FLOAT).all() and (some == np.floor(some)).all() and np.isfinite(some).all():
                return pa.array(some.astype(np.int64), mask=~np.isfinite(numbers) | column.is_null().to_numpy(False))
        elif pa.types.is_decimal(kind):
            return column.cast(pa.int64())
        elif not (pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_nested(kind)):
            return column.cast(pa.string()) if _is_bytes_or_text(kind) else None
    except pa.ArrowException:
        return None
    return None


def _is_bytes_or_text(kind: Any) -> bool:
    types = pa.types
    views = types.is_string_view(kind) or types.is_binary_view(kind)
    return bool(views or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind))
