"""Item vectors from co-occurrence in users' sequences: the plain stand-in for PinSage's.

PinSage (KDD'18) learns an item's vector from its graph and content. Without either, items that occur near each other in
users' sequences are similar: the matrix of their positive pointwise mutual information, factorised (which word2vec does
implicitly: Levy and Goldberg, NeurIPS'14). An item without an action in the training log has no vector.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rankstream.events.log import EventLog, starts_of
from rankstream.events.sequences import UserSequences, group_by_user
from rankstream.features.embeddings.memory import Ints, ItemTable
from rankstream.features.matches.tables import Rows32
from rankstream.features.schema import Bools, Floats

MAX_PAIRS = 10_000_000  # that are counted, about: of more actions, fewer of the next ones count as near
LEAST_REACH = 5
PAIRS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class ItemVectorConfig:
    """How items become vectors."""

    dim: int = 32  # I; 32-d PinSage in TransAct
    reach: int = 20  # how many of a user's next actions count as near
    smoothing: float = 0.75  # power of the context's counts: PMI overrates rare contexts (word2vec)
    shift: float = 1.0  # log of this is taken off: above 1 keeps only stronger relations
    min_actions: int = 1  # of an item, to get a vector
    rounds: int = 4  # power iterations; the spectrum decays slowly, fewer are not exact enough
    seed: int = 0


def train_item_vectors(log: EventLog, config: ItemVectorConfig, without: Sequence[str] = ()) -> ItemTable:
    """Return unit vectors of the log's items; actions named in ``without`` (a hide, say) don't count."""
    ids, counts = np.unique(log.item_ids, return_counts=True)
    ids = ids[counts >= config.min_actions]
    blank = ItemTable(ids, np.zeros((len(ids), config.dim), np.float32))
    sequences = group_by_user(log, blank)
    counted = ~np.isin(sequences.actions, log.codes_of(without))
    reach = int(np.clip(MAX_PAIRS // max(1, int(counted.sum())), min(LEAST_REACH, config.reach), config.reach))
    near = pair_counts(_co_occurring(sequences, counted, reach), len(ids))
    return ItemTable(ids, factorise(*ppmi(*near, len(ids), config), config))


def co_occurrences(sequences: UserSequences, counted: Bools, reach: int) -> tuple[Ints, Ints]:
    """Return (item, item) of every two counted actions of a user with fewer than ``reach`` counted ones between."""
    pairs = list(_co_occurring(sequences, counted, reach))
    return np.concatenate([left for left, _ in pairs]), np.concatenate([right for _, right in pairs])


def _co_occurring(sequences: UserSequences, counted: Bools, reach: int) -> Iterator[tuple[Ints, Ints]]:
    """Yield the pairs of ``co_occurrences``, those of one distance after the other."""
    rows = np.flatnonzero(counted & (sequences.item_rows >= 0))
    users, items = sequences.users[rows], sequences.item_rows[rows]
    for step in range(1, reach + 1):
        same = np.flatnonzero(users[step:] == users[:-step])
        yield items[same], items[same + step]


def pair_counts(pairs: Iterable[tuple[Ints, Ints]], num_items: int) -> tuple[Ints, Ints]:
    """Return the different pairs as ``lower * num_items + upper``, sorted, and how often each occurs in either order.

    Memory is that of the different pairs and of ``PAIRS_AT_ONCE``.
    """
    cells, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    waiting: list[Ints] = []
    for left, right in pairs:
        waiting.append(np.minimum(left, right) * num_items + np.maximum(left, right))
        if sum(map(len, waiting)) >= PAIRS_AT_ONCE:
            cells, counts = _added(cells, counts, np.concatenate(waiting))
            waiting = []
    return _added(cells, counts, np.concatenate(waiting)) if waiting else (cells, counts)


def _added(cells: Ints, counts: Ints, more: Ints) -> tuple[Ints, Ints]:
    """Return the different cells of both, sorted, and how often each occurs."""
    found, times = np.unique(more, return_counts=True)
    together, where = np.unique(np.concatenate([cells, found]), return_inverse=True)
    summed = np.bincount(where, np.concatenate([counts, times]), len(together))
    return together, summed.astype(np.int64)


def ppmi(cells: Ints, counts: Ints, num_items: int, config: ItemVectorConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sparse matrix of positive pointwise mutual information, (items, contexts), and its transpose.

    ``cells`` and ``counts`` are those of ``pair_counts``. Contexts are items too, but smoothed: it is not symmetric.
    """
    lower, upper = (cells // num_items).astype(np.int32), (cells % num_items).astype(np.int32)
    apart = lower != upper
    item_counts = np.bincount(lower, counts, num_items) + np.bincount(upper, counts, num_items)
    context_counts = item_counts**config.smoothing
    total = context_counts.sum()
    logs = np.log(np.where(apart, counts, 2 * counts)) - np.log(config.shift)
    items, contexts, values = [], [], []
    for at, context, once in ((lower, upper, slice(None)), (upper, lower, apart)):
        strengths = logs[once] - np.log(item_counts[at[once]] * context_counts[context[once]] / total)
        kept = strengths > 0
        items.append(at[once][kept])
        contexts.append(context[once][kept])
        values.append(strengths[kept].astype(np.float32))
    rows, columns, cell = np.concatenate(items), np.concatenate(contexts), np.concatenate(values)
    return _sparse(rows, columns, cell, num_items), _sparse(columns, rows, cell, num_items)


def _sparse(rows: Rows32, columns: Rows32, values: Floats, count: int) -> torch.Tensor:
    """Return a square matrix in compressed rows: a product takes a third of a coordinate one's time."""
    order = np.argsort(rows, kind="stable")
    starts = torch.from_numpy(starts_of(np.bincount(rows, minlength=count)).astype(np.int32))
    parts = torch.from_numpy(columns[order]), torch.from_numpy(values[order])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(starts, *parts, (count, count), check_invariants=False)


def factorise(matrix: torch.Tensor, transposed: torch.Tensor, config: ItemVectorConfig) -> Floats:
    """Return unit rows ``(items, dim)`` of a randomised truncated SVD, each side times the root of the values."""
    num_items = matrix.shape[0]
    width = min(num_items, config.dim + 16)
    rng = np.random.default_rng(config.seed)
    basis = torch.from_numpy(rng.standard_normal((num_items, width)).astype(np.float32))
    for _ in range(config.rounds):
        basis = torch.linalg.qr(matrix @ basis)[0]
        basis = torch.linalg.qr(transposed @ basis)[0]
    small = matrix @ basis  # (items, width)
    left, values, _ = torch.linalg.svd(small, full_matrices=False)
    vectors = np.zeros((num_items, config.dim), np.float32)
    found = min(config.dim, width)
    vectors[:, :found] = (left * values.sqrt())[:, :found].numpy()
    return _unit_rows(vectors, rng)


def _unit_rows(vectors: Floats, rng: np.random.Generator) -> Floats:
    """Scale rows to length 1; an item that co-occurs with none gets a random direction."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    isolated = lengths[:, 0] < 1e-6
    vectors[isolated] = rng.standard_normal((int(isolated.sum()), vectors.shape[1]))
    scaled: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled
