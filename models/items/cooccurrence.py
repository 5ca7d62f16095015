"""Item vectors from co-occurrence in users' sequences: the plain stand-in for PinSage's.

PinSage (KDD'18) learns an item's vector from its graph and content. Without either, items that occur near each other in
users' sequences are similar: the matrix of their positive pointwise mutual information, factorised (which word2vec does
implicitly: Levy and Goldberg, NeurIPS'14). An item without an action in the training log has no vector.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from rankstream.events.log import EventLog, starts_of
from rankstream.events.sequences import UserSequences, group_by_user
from rankstream.features.embeddings.memory import Ints, ItemTable
from rankstream.features.matches.tables import Rows32
from rankstream.features.schema import Bools, Floats
from rankstream.models.items.pairs import PAIRS_AT_ONCE, Pairs, counted_pairs, sides_of

Doubles = npt.NDArray[np.float64]

MAX_PAIRS = 10_000_000  # that are counted, about: of more actions, fewer of the next ones count as near
LEAST_REACH = 5


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
    matrices = ppmi(lambda: co_occurring(sequences, counted, reach), len(ids), config)
    return ItemTable(ids, factorise(*matrices, config))


def co_occurring(sequences: UserSequences, counted: Bools, reach: int) -> Iterator[tuple[Ints, Ints]]:
    """Yield (item, item) of every two counted actions of a user with fewer than ``reach`` counted ones between.

    They are rows of the sequences' table, those of one distance after the other.
    """
    rows = np.flatnonzero(counted & (sequences.item_rows >= 0))
    users, items = sequences.users[rows], sequences.item_rows[rows]
    for step in range(1, reach + 1):
        same = np.flatnonzero(users[step:] == users[:-step])
        yield items[same], items[same + step]


def ppmi(
    pairs: Callable[[], Pairs], num_items: int, config: ItemVectorConfig, at_once: int = PAIRS_AT_ONCE
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sparse matrix of positive pointwise mutual information, (items, contexts), and its transpose.

    ``pairs`` makes those of near items anew (``pairs.py``). Contexts are items too, but smoothed: it is not symmetric.
    """
    counts = sides_of(pairs(), num_items)
    contexts = counts**config.smoothing
    total = contexts.sum()
    rows, transposed = _Rows(), _Rows()
    for block in counted_pairs(pairs, num_items, counts, at_once):
        logs, size = np.log(block.times) - np.log(config.shift), block.stop - block.start
        within = block.items - block.start
        as_item = logs - np.log(counts[block.items] * contexts[block.others] / total)
        rows.add(within, block.others, as_item, block.others < block.items, size)
        as_context = logs - np.log(counts[block.others] * contexts[block.items] / total)
        transposed.add(within, block.others, as_context, block.others > block.items, size)
    return rows.sparse(num_items), transposed.sparse(num_items)


class _Rows:
    """Collects a sparse matrix in compressed rows, block by block: a product takes a third of a coordinate one's time.

    A row has two halves, the columns of each sorted. Their order is that in which products are summed, so the vectors
    of a log depend on it in their last bits, and it stays what it was when bundles were first trained.
    """

    def __init__(self) -> None:
        self._lengths, self._columns, self._values = list[Ints](), list[Rows32](), list[Floats]()

    def add(self, rows: Ints, columns: Ints, strengths: Doubles, second: Bools, count: int) -> None:
        """Take the positive cells of the next ``count`` rows, sorted by row and column; ``second`` come behind."""
        kept = np.flatnonzero(strengths > 0)
        kept = kept[np.argsort(2 * rows[kept] + second[kept], kind="stable")]
        self._lengths.append(np.bincount(rows[kept], minlength=count))
        self._columns.append(columns[kept].astype(np.int32))
        self._values.append(strengths[kept].astype(np.float32))

    def sparse(self, count: int) -> torch.Tensor:
        """Return the square matrix of ``count`` rows, once; what was collected is let go of."""
        starts = torch.from_numpy(starts_of(np.concatenate(self._lengths)).astype(np.int32))
        columns = torch.from_numpy(np.concatenate(self._columns))
        self._columns.clear()
        values = torch.from_numpy(np.concatenate(self._values))
        self._values.clear()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
            return torch.sparse_csr_tensor(starts, columns, values, (count, count), check_invariants=False)


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
