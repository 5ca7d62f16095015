"""Item vectors from co-occurrence in users' sequences: the plain stand-in for PinSage's.

PinSage (KDD'18) learns an item's vector from its graph and content. Without either, items that occur near each other in
users' sequences are similar: the matrix of their positive pointwise mutual information, factorised (which word2vec does
implicitly: Levy and Goldberg, NeurIPS'14). An item without an action in the training log has no vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rankstream.events.log import EventLog
from rankstream.events.sequences import UserSequences, group_by_user
from rankstream.features.embeddings.memory import Ints, ItemTable
from rankstream.features.schema import Bools, Floats


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
    near = co_occurrences(sequences, ~np.isin(sequences.actions, log.codes_of(without)), config.reach)
    return ItemTable(ids, factorise(ppmi(*near, len(ids), config), config))


def co_occurrences(sequences: UserSequences, counted: Bools, reach: int) -> tuple[Ints, Ints]:
    """Return (item, item) of every two counted actions of a user with fewer than ``reach`` counted ones between."""
    rows = np.flatnonzero(counted & (sequences.item_rows >= 0))
    users, items = sequences.users[rows], sequences.item_rows[rows]
    left, right = [], []
    for step in range(1, reach + 1):
        same = np.flatnonzero(users[step:] == users[:-step])
        left.append(items[same])
        right.append(items[same + step])
    return np.concatenate(left), np.concatenate(right)


def ppmi(left: Ints, right: Ints, num_items: int, config: ItemVectorConfig) -> torch.Tensor:
    """Return the sparse symmetric matrix of positive pointwise mutual information, ``(items, items)``."""
    pairs = np.concatenate([left * num_items + right, right * num_items + left])
    cells, counts = np.unique(pairs, return_counts=True)
    at, context = cells // num_items, cells % num_items
    item_counts = np.bincount(at, counts, minlength=num_items)
    context_counts = item_counts**config.smoothing
    expected = item_counts[at] * context_counts[context] / context_counts.sum()
    strengths = np.log(counts / expected) - np.log(config.shift)
    kept = strengths > 0
    indices = torch.from_numpy(np.stack([at[kept], context[kept]]))
    values = torch.from_numpy(strengths[kept].astype(np.float32))
    matrix = torch.sparse_coo_tensor(indices, values, (num_items, num_items), check_invariants=False)
    return matrix.coalesce()


def factorise(matrix: torch.Tensor, config: ItemVectorConfig) -> Floats:
    """Return unit rows ``(items, dim)`` of a randomised truncated SVD, each side times the root of the values."""
    num_items = matrix.shape[0]
    width = min(num_items, config.dim + 16)
    rng = np.random.default_rng(config.seed)
    basis = torch.from_numpy(rng.standard_normal((num_items, width)).astype(np.float32))
    for _ in range(config.rounds):
        basis = torch.linalg.qr(torch.sparse.mm(matrix, basis))[0]
        basis = torch.linalg.qr(torch.sparse.mm(matrix.t(), basis))[0]
    small = torch.sparse.mm(matrix, basis)  # (items, width)
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
