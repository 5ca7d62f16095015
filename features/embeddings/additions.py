"""Publishing a table that grows: a base whose rows never change, and what came to it later.

::

    base        items of the training      to the bit in every version
    given       new vectors                they replace those of the version before
    kept        of the version before      what neither the base nor the given have

Which of them are known by what they are alone, and what they are, goes with them (``features/described.py``): of a
version before, unless it is given anew.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rankstream.features.described import DescribedItems
from rankstream.features.embeddings.files import KEPT_VERSIONS, Column
from rankstream.features.embeddings.float16 import Float16s
from rankstream.features.embeddings.table import EmbeddingTable, publish, table_of
from rankstream.features.files import CURRENT
from rankstream.features.ids import Id, Keys


@dataclass(frozen=True)
class Additions:
    """What was published."""

    folder: Path | None  # of the new version; None where the one before, or the base alone, holds the same
    items: int  # of the table
    added: int  # of these, not of the base
    kept: int  # of these, only in the version before
    in_base: int  # given, but the base has them: they stay as they are
    described: int = 0  # of the table, known by what they are alone


def publish_additions(
    root: Path,
    base: EmbeddingTable,
    ids: Sequence[Id],
    vectors: npt.NDArray[Any],
    *,
    as_of_ms: int,
    keep: int = KEPT_VERSIONS,
    prepare: Callable[[Path], object] | None = None,
    described: DescribedItems | None = None,
) -> Additions:
    """Publish the base with ``(n, d)`` vectors added, as a version of its space.

    ``described`` says which of the given are known by what they are alone, and takes the place of what the version
    before said: such items of it that are not given are not kept. None: those that are not given now stay what they
    were. What ``root`` holds of another space is not kept. Raises as ``publish`` does, which ``prepare`` is for, and
    ``ValueError`` for another width.
    """
    if vectors.ndim != 2 or vectors.shape[1] != base.dim:
        wide = vectors.shape[1] if vectors.ndim == 2 else 0
        raise ValueError(f"vectors of {wide} given, but the items' are of {base.dim}; give those of their space")
    given = table_of(ids, vectors, space=base.space, as_of_ms=as_of_ms)
    before = EmbeddingTable.open(root) if (root / CURRENT).exists() else None
    old = before if before is not None and (before.space, before.dim) == (base.space, base.dim) else None
    new = np.flatnonzero(~base.rows(given.keys)[1])
    kept = np.zeros(0, np.intp) if old is None else _only_in(old, base, given)
    said = DescribedItems() if old is None else DescribedItems.in_table(old)
    if described is not None and old is not None:
        kept = kept[~np.isin(old.keys[kept], said.keys)]
    beside = described.only(given.keys[new]) if described is not None else said.only(_keys_of(old, kept))
    counts = len(base) + len(new) + len(kept), len(new) + len(kept), len(kept), len(given) - len(new), len(beside.keys)
    parts: list[tuple[EmbeddingTable, npt.NDArray[np.intp]]] = [(base, np.arange(len(base))), (given, new)]
    if old is not None:
        parts.append((old, kept))
    if before is None and not len(new) and not beside.columns:
        return Additions(None, *counts)
    names = [one for table, rows in parts for one in table.ids(rows)]
    whole: Float16s = np.concatenate([table.vectors[rows] for table, rows in parts])
    facts: dict[str, Any] = {"meta": beside.meta, "beside": beside.beside, "space": base.space, "as_of_ms": as_of_ms}
    if old is not None and _is(old, table_of(names, whole, **facts)):
        return Additions(None, *counts)
    return Additions(publish(root, names, whole, **facts, keep=keep, prepare=prepare), *counts)


def _keys_of(table: EmbeddingTable | None, rows: npt.NDArray[np.intp]) -> Keys:
    return np.zeros(0, np.uint64) if table is None else table.keys[rows]


def _only_in(old: EmbeddingTable, base: EmbeddingTable, given: EmbeddingTable) -> npt.NDArray[np.intp]:
    return np.flatnonzero(~base.rows(old.keys)[1] & ~given.rows(old.keys)[1])


def _is(old: EmbeddingTable, new: EmbeddingTable) -> bool:
    """Return whether two tables hold the same columns."""
    return old.columns.keys() == new.columns.keys() and all(
        _equal(old.columns[one], new.columns[one]) for one in new.columns
    )


def _equal(old: Column, new: Column) -> bool:
    return np.array_equal(old.ravel(), new.ravel(), equal_nan=old.dtype.kind == "f")
