"""Columns of ids as a log writes them: int64 where all are integers, else texts in an object array."""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from rankstream.features.ids import HASHED, Id, Ids, id_key


def plain_ids(ids: Ids | Sequence[int | str]) -> Ids:
    """Return ids as int64 if all are integers, else as texts in an object array."""
    column = np.asarray(ids) if not isinstance(ids, np.ndarray) else ids
    if column.dtype.kind in "iu":
        return column.astype(np.int64)
    values = list(ids)
    if values and all(isinstance(value, (int, np.integer)) for value in values):
        return np.array(values, np.int64)
    if not values:
        return np.zeros(0, np.int64)
    return as_texts([str(value) for value in values])


class IdColumn:
    """Collects a column of ids, each text once."""

    def __init__(self, untyped: bool) -> None:
        """``untyped`` ids, of a file of text, are integers where all are written so."""
        self._untyped, self._parts, self._texts = untyped, list[Ids](), dict[str, str]()

    def add(self, ids: Sequence[Id]) -> None:
        """Take the next ids."""
        if self._untyped and all(id_key(one) < HASHED for one in set(ids)):
            ids = [int(one) for one in ids]
        with suppress(OverflowError):
            if set(map(type, ids)) <= {int}:
                self._parts.append(np.array(ids, np.int64))
                return
        self._parts.append(as_texts([self._texts.setdefault(text, text) for text in map(str, ids)]))

    def column(self) -> Ids:
        """Return all of them: integers if all are, else texts."""
        if not self._parts:
            return np.zeros(0, np.int64)
        if len({part.dtype for part in self._parts}) < 2:
            return np.concatenate(self._parts)
        return as_texts([str(one) for part in self._parts for one in part.tolist()])


def as_texts(texts: list[str]) -> Ids:
    """Return texts as an object array."""
    column = np.empty(len(texts), object)
    column[:] = texts
    return column
