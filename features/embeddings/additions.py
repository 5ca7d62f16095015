"""Publishing a table that grows: a base whose rows never change, and what came to it later.

::

    base        items of the training      to the bit in every version
    given       new vectors                they replace those of the version before
    kept        of the version before      what neither the base nor the given have
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rankstream.features.embeddings.files import KEPT_VERSIONS
from rankstream.features.embeddings.float16 import Float16s
from rankstream.features.embeddings.table import EmbeddingTable, publish, table_of
from rankstream.features.files import CURRENT
from rankstream.features.ids import Id


@dataclass(frozen=True)
class Additions:
    """What was published."""

    folder: Path | None  # of the new version; None where the one before, or the base alone, holds the same
    items: int  # of the table
    added: int  # of these, not of the base
    kept: int  # of these, only in the version before
    in_base: int  # given, but the base has them: they stay as they are


def publish_additions(
    root: Path,
    base: EmbeddingTable,
    ids: Sequence[Id],
    vectors: npt.NDArray[Any],
    *,
    as_of_ms: int,
    keep: int = KEPT_VERSIONS,
    prepare: Callable[[Path], object] | None = None,
) -> Additions:
    """Publish the base with ``(n, d)`` vectors added, as a version of its space.

    What ``root`` holds of another space is not kept. Raises as ``publish`` does, which ``prepare`` is for, and
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
    counts = len(base) + len(new) + len(kept), len(new) + len(kept), len(kept), len(given) - len(new)
    parts: list[tuple[EmbeddingTable, npt.NDArray[np.intp]]] = [(base, np.arange(len(base))), (given, new)]
    if old is not None:
        parts.append((old, kept))
    if before is None and not len(new):
        return Additions(None, *counts)
    names = [one for table, rows in parts for one in table.ids(rows)]
    whole: Float16s = np.concatenate([table.vectors[rows] for table, rows in parts])
    if old is not None and _is(old, table_of(names, whole, space=base.space, as_of_ms=as_of_ms)):
        return Additions(None, *counts)
    return Additions(
        publish(root, names, whole, space=base.space, as_of_ms=as_of_ms, keep=keep, prepare=prepare), *counts
    )


def _only_in(old: EmbeddingTable, base: EmbeddingTable, given: EmbeddingTable) -> npt.NDArray[np.intp]:
    return np.flatnonzero(~base.rows(old.keys)[1] & ~given.rows(old.keys)[1])


def _is(old: EmbeddingTable, new: EmbeddingTable) -> bool:
    """Return whether two tables hold the same vectors."""
    return np.array_equal(old.keys, new.keys) and np.array_equal(old.vectors, new.vectors)
