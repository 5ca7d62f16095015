"""Vectors of items that nobody has acted on, from what the catalogue says of them: a linear tower into the item space.

The known items teach it: ridge regression of their vectors, which were learned of actions, on what they are (categories
of all levels, group, collections, the words of title and text, the year they came into being). Where a label says
nothing of who likes an item it moves no vector, which the mean of the items that share labels can't tell. Tried on
three logs (``docs/log.md``); the published way from content to a collaborative vector is a deep net of the same inputs
(van den Oord et al., NIPS 2013).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
from scipy import sparse

from rankstream.content.catalogue import Catalogue
from rankstream.content.items import Item
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.ids import Id
from rankstream.features.schema import Bools, Floats

Doubles = npt.NDArray[np.float64]

PENALTY = 10.0  # ridge; from 5 to 20 about level on three logs, as are rows of length 1 with 1
MIN_SHARED = 2  # known items that have a label: one alone tells nothing of another item
MAX_WORDS = 64  # of an item, its first ones
MAX_STEPS = 60  # of conjugate gradients; the residual is small after 20 to 50
TOLERANCE = 1e-8  # of the squared residual beside the first one
WORD = re.compile(r"\w+")

Label = tuple[str, object]


@dataclass(frozen=True)
class Described:
    """New items, with vectors as long as the known ones usually are, and the features that items like them have."""

    ids: Sequence[Id]
    vectors: Floats  # (n, I)
    features: Floats  # (n, F)


def described_items(
    catalogue: Catalogue, known: ItemTable, features: Floats, placed: Bools, as_of_ms: int
) -> Described:
    """Return the catalogue's items that are not ``placed`` ``(n,)`` yet, by vectors and features of ``known`` ones.

    An item that shares no label with a known one has none, nor has one that is still to come as of ``as_of_ms``, nor
    has any where no known item is in the catalogue.
    """
    learned = np.any(known.vectors, axis=1)  # zeros: nobody knows where it is
    rows = known.rows_of(catalogue.keys)
    taught = (rows >= 0) & learned[rows]
    matrix = _label_matrix(catalogue, taught)
    new = np.flatnonzero(~placed & (np.diff(matrix.indptr) > 0) & (catalogue.created_ms <= as_of_ms))
    if not len(new) or not taught.any():
        return Described([], np.zeros((0, known.dim), np.float32), np.zeros((0, features.shape[1]), np.float32))
    vectors = known.vectors[rows[taught]].astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found = _predicted(matrix[taught], np.concatenate([vectors / lengths, features[rows[taught]]], axis=1), matrix[new])
    placed_at, expected = found[:, : known.dim], found[:, known.dim :]
    scaled = placed_at / np.maximum(np.linalg.norm(placed_at, axis=1, keepdims=True), 1e-9) * np.median(lengths)
    return Described(catalogue.ids(new), scaled.astype(np.float32), expected.astype(np.float32))


def _predicted(known: sparse.csr_array, targets: Doubles, new: sparse.csr_array) -> Doubles:
    """Return the targets ``(m, I)`` of new rows, by ridge regression on the known ones ``(n, L)``."""
    mean = targets.mean(axis=0)
    found: Doubles = new @ ridge(known, targets - mean) + mean
    return found


def ridge(matrix: sparse.csr_array, targets: Doubles, penalty: float = PENALTY) -> Doubles:
    """Return the weights ``(L, I)`` that minimise the squared error plus ``penalty`` times their squares.

    By conjugate gradients, for each column of the targets by itself: of the matrix only products are taken.
    """
    residual: Doubles = matrix.T @ targets
    weights, direction = np.zeros_like(residual), residual.copy()
    squares = np.sum(residual**2, axis=0)
    enough = TOLERANCE * squares.max(initial=0.0)
    for _ in range(MAX_STEPS):
        if squares.max(initial=0.0) <= enough:
            break
        image = matrix.T @ (matrix @ direction) + penalty * direction
        step = squares / np.maximum(np.sum(direction * image, axis=0), 1e-300)
        weights += step * direction
        residual -= step * image
        before, squares = squares, np.sum(residual**2, axis=0)
        direction = residual + squares / np.maximum(before, 1e-300) * direction
    return weights


def _label_matrix(catalogue: Catalogue, taught: Bools) -> sparse.csr_array:
    """Return which item has which label, ``(n, L)`` of 0 and 1, of those that ``MIN_SHARED`` taught items share."""
    code_of: dict[Label, int] = {}
    rows, codes = [], []
    for row, item in enumerate(catalogue.items(range(len(catalogue)))):
        found = [code_of.setdefault(label, len(code_of)) for label in sorted(labels_of(item), key=str)]
        rows += [row] * len(found)
        codes += found
    matrix = sparse.csr_array(
        (np.ones(len(rows)), (np.array(rows, np.int64), np.array(codes, np.int64))), (len(catalogue), len(code_of))
    )
    shared = matrix[taught].sum(axis=0) >= MIN_SHARED
    return matrix[:, np.flatnonzero(shared)]


def labels_of(item: Item) -> set[Label]:
    """Return all that is known of an item by words: each thing once."""
    path = item.category or ()
    found: set[Label] = {("category", path[: level + 1]) for level in range(len(path))}
    found |= {("collection", str(one)) for one in item.collections}
    found |= {("word", word) for word in _words(item)}
    if item.group is not None:
        found.add(("group", str(item.group)))
    if item.created_at_ms is not None:
        found.add(("year", datetime.fromtimestamp(item.created_at_ms / 1000, UTC).year))
    return found


def _words(item: Item) -> list[str]:
    text = f"{item.title or ''} {item.text or ''}"
    return WORD.findall(text[: MAX_WORDS * 100].lower())[:MAX_WORDS]
