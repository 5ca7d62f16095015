"""30Music's plays as actions: each is a ``play``, its value the seconds listened; 30 s and more make a ``listen``."""

import numpy as np
import pyarrow as pa

from rankstream.events.public.batches import PublicLog, floats, ms_of_seconds, named, wire
from rankstream.events.readers.arrow_batch import Batch
from rankstream.features.actions import Vocabulary

VOCABULARY = Vocabulary(("play", "listen"))
POSITIVES = ("listen",)
NEGATIVES = ()
LISTENED_S = 30.0  # what the music trade counts as a stream


def translated(batch: Batch) -> Batch:
    """Return a batch in the wire's columns."""
    seconds = floats(batch, "playtime")
    return wire(
        user_id=batch.column("user_id"),
        item_id=batch.column("song_id"),
        action=named((seconds >= LISTENED_S).astype(np.int64), VOCABULARY.actions),
        timestamp_ms=ms_of_seconds(batch, "ts"),
        value=pa.array(seconds, mask=~(seconds >= 0)),  # negative and missing play times exist: no value
    )


MUSIC30 = PublicLog(("user_id", "song_id", "ts", "playtime"), VOCABULARY, ("plays.parquet",), lambda: translated)
