"""Vectors of items that came after the encoders were trained: where the items beside them in users' sequences are.

The ranker was trained on the vectors as they are, so these stay, and what is new is placed among them.
"""

import numpy as np

from rankstream.events.ids import plain_ids
from rankstream.events.log import EventLog
from rankstream.events.sequences import group_by_user
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.ids import id_keys
from rankstream.features.schema import Floats
from rankstream.models.items.cooccurrence import co_occurring

REACH = 5  # a user's actions on either side that count as near


def folded_in(item_table: ItemTable, log: EventLog) -> ItemTable:
    """Return the table with a row for each of the log's items; the rows that were there stay the first.

    A new item's vector is the mean of those of the known items near it, as long as vectors usually are; zeros where
    there is none.
    """
    items = log.items().tolist()
    new = [items[at] for at in np.flatnonzero(item_table.rows_of(id_keys(items)) < 0).tolist()]
    if not new:
        return item_table
    ids = plain_ids([*item_table.ids.tolist(), *new])  # texts if some are: a later log may be of another kind of ids
    vectors = np.concatenate([item_table.vectors, np.zeros((len(new), item_table.dim), np.float32)])
    sequences = group_by_user(log, ItemTable(ids, vectors))
    before, all_count = len(item_table), np.ones(len(sequences), np.bool_)
    for side in (1, -1):  # what comes after a new item, then what comes before it
        for pair in co_occurring(sequences, all_count, REACH):
            items, near = pair[::side]
            rows = np.flatnonzero((items >= before) & (near < before))
            np.add.at(vectors, items[rows], item_table.vectors[near[rows]])
    vectors[before:] = _scaled(vectors[before:], item_table.vectors)
    return ItemTable(ids, vectors)


def _scaled(summed: Floats, usual: Floats) -> Floats:
    """Return the rows with the median length of the usual ones; zeros stay zeros."""
    lengths = np.linalg.norm(summed, axis=1, keepdims=True)
    length = np.median(np.linalg.norm(usual, axis=1)) if len(usual) else 1.0
    scaled: Floats = (summed * (length / np.maximum(lengths, 1e-6))).astype(np.float32)
    return scaled
