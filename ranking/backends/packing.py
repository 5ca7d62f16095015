"""The inputs of a request as one run of bytes: what a batch copies to a device at once, and how it is read there.

::

    | action_types | action_items | user_vector | ... | candidate_items | candidate_features |   one request
    | request      | request        | ...                                                    |   one batch, one copy

Candidates are padded with rows of zeros to one of a few counts, so that requests have few shapes: no candidate depends
on another. Histories keep their true length, of which there are as many as actions that the model sees; the graphs
have no mask, and a row of padding would be an action.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from rankstream.features.schema import CANDIDATE_INPUTS, USER_INPUTS, ModelInputs
from rankstream.ranking.backends.two_graphs import rounded_up, user_arrays

ROWS = (64, 128, 256, 512, 1024, 2048, 5120)  # counts of candidates that requests are padded to
ALIGNED = 16  # bytes: each array starts at a multiple, so that a device loads whole vectors

Bytes = npt.NDArray[np.uint8]
Shapes = tuple[tuple[str, tuple[int, ...], str], ...]  # of each array: name, shape, dtype


@dataclass(frozen=True)
class Field:
    """One array within the bytes of a request."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    start: int
    end: int


@dataclass(frozen=True)
class Layout:
    """Where the arrays of a request lie; equal for requests of one shape."""

    fields: tuple[Field, ...]
    nbytes: int


def padded_rows(candidates: int) -> int:
    """Return how many rows so many candidates are padded to."""
    return next((rows for rows in ROWS if rows >= candidates), rounded_up(candidates, ROWS[0]))


def packed_shapes(inputs: ModelInputs, rows: int) -> Shapes:
    """Return name, shape and dtype of each array of a request whose candidates are padded to ``rows``."""
    arrays = user_arrays(inputs)
    shapes = [(name, arrays[name].shape, arrays[name].dtype.str) for name in USER_INPUTS]
    for name in CANDIDATE_INPUTS:
        column = getattr(inputs, name)
        shapes.append((name, (rows, column.shape[1]), column.dtype.str))
    return tuple(shapes)


@lru_cache(maxsize=1024)
def layout_of(shapes: Shapes) -> Layout:
    """Return where arrays of these shapes lie."""
    fields, at = [], 0
    for name, shape, dtype in shapes:
        end = at + prod(shape) * np.dtype(dtype).itemsize
        fields.append(Field(name, shape, dtype, at, end))
        at = rounded_up(end, ALIGNED)
    return Layout(tuple(fields), at)


def pack(inputs: ModelInputs, layout: Layout, into: Bytes) -> None:
    """Write a request into ``layout.nbytes`` bytes; rows of padding are zeros."""
    arrays: dict[str, Any] = user_arrays(inputs) | {name: getattr(inputs, name) for name in CANDIDATE_INPUTS}
    for field in layout.fields:
        array = np.ascontiguousarray(arrays[field.name])
        view = into[field.start : field.end]
        view[: array.nbytes] = array.view(np.uint8).reshape(-1)
        view[array.nbytes :] = 0
