"""The segments of items that a log or its catalogue tells: categories, genres, tags."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from rankstream.experiments.feed.items import MAKES
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.ids import Id, id_keys
from rankstream.features.schema import Ints


def segments_of(log: str, data: Path, items: EmbeddingTable) -> Ints | None:
    """Return the segment of each item of a table ``(n,)``, -1 where it has none; None for a log that tells none."""
    named = _taobao(data) if log == "taobao" else _of_catalogue(log, data)
    if not named:
        return None
    names = sorted(set(named.values()))
    code_of = {name: code for code, name in enumerate(names)}
    keys = id_keys(list(named))
    rows, found = items.rows(keys)
    codes = np.full(len(items), -1, np.int64)
    codes[rows[found]] = np.array([code_of[name] for name in named.values()])[found]
    return codes


def _taobao(data: Path) -> dict[Id, str]:
    log = pq.read_table(data / "taobao_userbehavior_head/events.parquet", columns=["item_id", "category_id"])
    items, categories = (log[name].to_pylist() for name in log.column_names)
    named: dict[Id, str] = {}
    for item, category in zip(items, categories, strict=True):
        named[item] = str(category)
    return named


def _of_catalogue(log: str, data: Path) -> dict[Id, str]:
    """Return the widest category, or the first collection where there is none."""
    if log not in MAKES:
        return {}
    named: dict[Id, str] = {}
    for item in MAKES[log](data):
        name = item.category[0] if item.category else item.collections[0] if item.collections else None
        if name is not None:
            named[item.id] = str(name)
    return named
