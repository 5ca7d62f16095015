"""Taobao's UserBehavior as actions: page views, carts, favourites, purchases, with times in seconds."""

import pyarrow as pa

from rankstream.events.public.batches import PublicLog, ms_of_seconds, wire
from rankstream.events.readers.arrow_batch import Batch
from rankstream.features.actions import Vocabulary

NAMES = {"pv": "view", "fav": "save", "cart": "cart", "buy": "buy"}
VOCABULARY = Vocabulary(tuple(NAMES.values()))
POSITIVES = ("save", "cart", "buy")
NEGATIVES = ()


def translated(batch: Batch) -> Batch:
    """Return a batch in the wire's columns; an unknown behaviour keeps its name, which no vocabulary has."""
    behaviours = batch.column("behavior").to_pylist()
    return wire(
        user_id=batch.column("user_id"),
        item_id=batch.column("item_id"),
        action=pa.array([NAMES.get(one, one) for one in behaviours], pa.string()),
        timestamp_ms=ms_of_seconds(batch, "timestamp"),  # null in the half row that a head of the file ends in
    )


TAOBAO = PublicLog(("user_id", "item_id", "behavior", "timestamp"), VOCABULARY, ("events.parquet",), lambda: translated)
