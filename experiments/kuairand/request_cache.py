"""Joined requests on disk: the output of ``join``, computed once a request, read by every model that is compared.

::

    folder/  sizes.json              the widths of the columns
             action_items.bin ...    one file a column, rows of all requests one after the other

Vectors are stored as float16, as are the tables that they come from, so nothing is lost; a vector that float16 can't
hold is refused. ``batch`` returns what ``hybrid.collate`` would return for the same requests.
"""

import json
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rankstream.features.schema import FeatureSizes, Floats, Ints, ModelInputs
from rankstream.models.ranker.hybrid import RankerBatch

SIZES = "sizes.json"
AS_FLOAT16 = ("action_items", "candidate_items", "user_vectors")


@dataclass(frozen=True)
class CachedRequest:
    """One request to be written."""

    inputs: ModelInputs
    labels: Floats  # (N, heads)
    user_key: int
    now_ms: int
    candidates: npt.NDArray[np.uint64]  # (N,)


def write_cache(folder: Path, requests: Iterable[CachedRequest], sizes: FeatureSizes, heads: tuple[str, ...]) -> None:
    """Write requests in the order given, in one pass; ``sizes.json`` is written last and marks the cache as whole."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SIZES).unlink(missing_ok=True)
    with _Files(folder) as files:
        for request in requests:
            files.append(request)
    widths = {"item_dim": sizes.item_dim, "user_dim": sizes.user_dim, "session_dim": sizes.session_dim}
    widths |= {"item_features": sizes.item_features, "num_actions": sizes.num_actions}
    (folder / SIZES).write_text(json.dumps({"sizes": widths, "heads": heads}))


class _Files:
    """The open files of a cache that is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, BinaryIO] = {}

    def __enter__(self) -> "_Files":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.files.values():
            file.close()

    def append(self, request: CachedRequest) -> None:
        inputs = request.inputs
        columns: dict[str, npt.NDArray[Any]] = {
            "action_types": inputs.action_types.astype(np.int8),
            "action_items": inputs.action_items,
            "action_ages_ms": inputs.action_ages_ms.astype(np.int64),
            "user_vectors": inputs.user_vector,
            "session_vectors": inputs.session_vector,
            "contexts": inputs.context,
            "candidate_items": inputs.candidate_items,
            "candidate_features": inputs.candidate_features,
            "labels": request.labels.astype(np.float32),
            "candidates": request.candidates.astype(np.uint64),
            "counts": np.array([len(inputs.action_types), inputs.num_candidates], np.int64),
            "asked": np.array([request.user_key, request.now_ms], np.uint64),
        }
        for name, column in columns.items():
            file = self.files.get(name)
            if file is None:
                file = self.files[name] = (self.folder / f"{name}.bin").open("wb")
            file.write(_to_float16(name, column).tobytes() if name in AS_FLOAT16 else column.tobytes())


def _to_float16(name: str, column: Floats) -> npt.NDArray[np.float16]:
    rounded: npt.NDArray[np.float16] = column.astype(np.float16)
    if not np.array_equal(rounded.astype(np.float32), column):
        raise ValueError(f"{name} are not exact in float16; look them up in tables of float16, as serving does")
    return rounded


class RequestCache:
    """Requests that ``write_cache`` wrote, mapped into memory; of each history the newest ``num_actions``."""

    def __init__(self, folder: Path, num_actions: int | None = None) -> None:
        header = json.loads((folder / SIZES).read_text())
        self.folder = folder
        self.sizes = FeatureSizes(**header["sizes"])
        self.heads = tuple(header["heads"])
        self.num_actions = self.sizes.num_actions if num_actions is None else num_actions
        self.counts = self._column("counts", np.int64, 2)  # of each request as written: actions, candidates
        requested = self._column("asked", np.uint64, 2)
        self._select(np.arange(len(self.counts)), self.counts[:, 1], np.arange(int(self.counts[:, 1].sum())), requested)

    def _select(self, states: Ints, sizes_of: Ints, shown: Ints, requested: npt.NDArray[np.uint64]) -> None:
        """Set the state of each request, its number of candidates, the candidates, and (user, time)."""
        self.states, self.sizes_of, self.shown, self.requested = states, sizes_of, shown, requested
        self.have_weights = False  # all are shown lists, and nothing is drawn beside them
        self.lengths: Ints = np.minimum(self.counts[states, 0], self.num_actions)  # (R,) actions of each request
        self.user_keys, self.now_ms = requested[:, 0], requested[:, 1].astype(np.int64)
        self.labels = self._column("labels", np.float32, len(self.heads))[shown]
        self.candidates = self._column("candidates", np.uint64, 0)[shown]

    def merged(self, groups: Ints) -> "RequestCache":
        """Return each group of requests, ``(R,)`` numbers, as one: all candidates, the first one's state and time."""
        order = np.lexsort((self.now_ms, groups))
        begins = np.concatenate([[True], np.diff(groups[order]) != 0])
        cuts = np.flatnonzero(begins)
        first = order[cuts]
        sizes = np.add.reduceat(self.sizes_of[order], cuts) if len(cuts) else self.sizes_of
        other = copy(self)
        other.__dict__.pop("candidate_starts", None)
        other._select(self.states[first], sizes, self.shown[self.candidate_rows(order)], self.requested[first])
        return other

    @staticmethod
    def is_there(folder: Path) -> bool:
        """Return whether the folder has a whole cache."""
        return (folder / SIZES).exists()

    def __len__(self) -> int:
        return len(self.states)

    def _column(self, name: str, dtype: Any, width: int) -> npt.NDArray[Any]:
        path = self.folder / f"{name}.bin"
        if not path.exists() or not path.stat().st_size:
            return np.zeros((0, width) if width else 0, dtype)
        column: npt.NDArray[Any] = np.memmap(path, dtype, "r")
        return column.reshape(-1, width) if width else column

    @cached_property
    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return the columns that batches are made of."""
        sizes = self.sizes
        return {
            "action_types": self._column("action_types", np.int8, 0),
            "action_items": self._column("action_items", np.float16, sizes.item_dim),
            "action_ages_ms": self._column("action_ages_ms", np.int64, 0),
            "user_vectors": self._column("user_vectors", np.float16, sizes.user_dim),
            "session_vectors": self._column("session_vectors", np.float32, sizes.session_dim),
            "contexts": self._column("contexts", np.float32, sizes.context),
            "candidate_items": self._column("candidate_items", np.float16, sizes.item_dim),
            "candidate_features": self._column("candidate_features", np.float32, sizes.candidate_features),
        }

    @cached_property
    def action_starts(self) -> Ints:
        """Return where the actions of each request as written start."""
        return np.concatenate([[0], np.cumsum(self.counts[:, 0])])

    @cached_property
    def candidate_starts(self) -> Ints:
        """Return where each request's candidates start, ``(R + 1,)``."""
        return np.concatenate([[0], np.cumsum(self.sizes_of)])

    def candidate_rows(self, rows: Ints) -> Ints:
        """Return the rows of the candidates of these requests, in order."""
        return _ranges(self.candidate_starts[rows], self.sizes_of[rows])

    def batch(self, rows: Ints) -> RankerBatch:
        """Return these requests as one batch."""
        columns, counts = self.columns, self.lengths[rows]
        length = max(1, int(counts.max(initial=1)))
        at = np.repeat(np.arange(len(rows)), counts)
        index = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts)
        states, shown = self.states[rows], self.shown[self.candidate_rows(rows)]
        source = self.action_starts[states][at] + index
        types = np.zeros((len(rows), length), np.int64)
        items = np.zeros((len(rows), length, self.sizes.item_dim), np.float32)
        ages_ms = np.zeros((len(rows), length), np.int64)
        types[at, index] = columns["action_types"][source]
        items[at, index] = columns["action_items"][source]
        ages_ms[at, index] = columns["action_ages_ms"][source]
        return RankerBatch(
            action_types=torch.from_numpy(types),
            action_items=torch.from_numpy(items),
            action_ages_ms=torch.from_numpy(ages_ms),
            user_vectors=_floats(columns["user_vectors"][states]),
            session_vectors=_floats(columns["session_vectors"][states]),
            contexts=_floats(columns["contexts"][states]),
            request_of=torch.from_numpy(np.repeat(np.arange(len(rows)), self.sizes_of[rows])),
            candidate_items=_floats(columns["candidate_items"][shown]),
            candidate_features=_floats(columns["candidate_features"][shown]),
            labels=_floats(self.labels[self.candidate_rows(rows)]),
            weights=torch.ones(len(shown)),
            log_q=torch.zeros(len(shown)),
            places=torch.zeros(len(shown), dtype=torch.int64),
        )

    def batches(self, candidates: int) -> Iterator[tuple[Ints, RankerBatch]]:
        """Yield all requests in batches of about so many candidates, histories of similar length together.

        Each is (rows of the batch's candidates, batch).
        """
        order = np.argsort(self.lengths, kind="stable")
        cuts = np.flatnonzero(np.diff(np.cumsum(self.sizes_of[order]) // candidates)) + 1
        for rows in np.split(order, cuts):
            if len(rows):
                yield self.candidate_rows(rows), self.batch(rows)


def _ranges(starts: Ints, counts: Ints) -> Ints:
    """Return ``start, start + 1, ...`` of each, one after the other."""
    ends = np.cumsum(counts)
    return np.repeat(starts - (ends - counts), counts) + np.arange(int(ends[-1]) if len(ends) else 0)


def _floats(column: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(column.astype(np.float32))
