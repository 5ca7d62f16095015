"""Published item vectors that fit the tiny bundle."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rankstream.features.described import DescribedItems
from rankstream.features.embeddings.table import publish
from rankstream.features.ids import Id, id_keys
from rankstream.features.schema import Floats
from tests.builders.bundle import AS_OF_MS, ITEM_SPACE, vectors_of

NEW = "brand new"  # an item that no bundle knows


def publish_items(
    root: Path, new: Sequence[Id] = (NEW,), *, seed: int = 31, as_of_ms: int = AS_OF_MS, space: str = ITEM_SPACE
) -> str:
    """Publish the tiny bundle's vectors to the bit, and ``new`` items'; return the version's name."""
    vectors = np.concatenate([vectors_of(200, 8, 1), vectors_of(len(new), 8, seed)])
    return publish(root, [*range(1, 201), *new], vectors, space=space, as_of_ms=as_of_ms, keep=100).name


def publish_described(
    root: Path, described: Sequence[Id], *, as_of_ms: int = AS_OF_MS, seed: int = 31, features: Floats | None = None
) -> str:
    """Publish the tiny bundle's vectors to the bit, and those of items that nobody had acted on; return the version."""
    vectors = np.concatenate([vectors_of(200, 8, 1), vectors_of(len(described), 8, seed)])
    beside = DescribedItems.of(id_keys(described), features=features).beside
    ids = [*range(1, 201), *described]
    return publish(root, ids, vectors, space=ITEM_SPACE, as_of_ms=as_of_ms, keep=100, beside=beside).name
