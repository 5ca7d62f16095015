"""MovieLens ratings as actions: 5 is a save, 4 a click, 3 a view, 1 and 2 a hide.

Any file with the columns ``user_id, item_id, rating, timestamp`` (seconds); RecBole's ``ml-100k.inter``, whose headings
carry types, is one.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from rankstream.events.public.batches import PublicLog, floats, ms_of_seconds, named, wire
from rankstream.events.readers.arrow_batch import Batch
from rankstream.events.readers.columns import read_columns
from rankstream.features.actions import Vocabulary

VOCABULARY = Vocabulary(("view", "click", "save", "hide"))
POSITIVES = ("click", "save")
NEGATIVES = ("hide",)
CODE_OF_STARS = np.array([0, 4, 4, 1, 2, 3], np.int64)  # of 0..5 stars; MovieLens has 1..5


def translated(batch: Batch) -> Batch:
    """Return a batch in the wire's columns; a rating that is not 1 to 5 whole stars has no action."""
    stars = floats(batch, "rating")
    whole = (stars >= 1) & (stars <= 5) & (stars == np.round(stars))
    codes = CODE_OF_STARS[np.where(whole, stars, 0).astype(np.int64)]
    return wire(
        user_id=batch.column("user_id"),
        item_id=batch.column("item_id"),
        action=named(codes - 1, VOCABULARY.actions),
        timestamp_ms=ms_of_seconds(batch, "timestamp"),
    )


MOVIELENS = PublicLog(
    ("user_id", "item_id", "rating", "timestamp"), VOCABULARY, ("inter.parquet", "ml-100k.inter"), lambda: translated
)


def read_sequences(path: Path) -> list[npt.NDArray[np.int64]]:
    """Read each user's items in the order of their ratings, as rows 0, 1, ...: MovieLens-1M as SASRec's file has it.

    ``path`` is ``sequences.parquet`` or its folder, with ``sas_user, sas_item`` (from 1) and ``position`` (0 first).
    """
    file = path / "sequences.parquet" if path.is_dir() else path
    columns = read_columns(file, ("sas_user", "sas_item", "position"))
    users, items, positions = (np.asarray(columns[name], np.int64) for name in ("sas_user", "sas_item", "position"))
    order = np.lexsort((positions, users))
    starts = np.flatnonzero(np.diff(users[order])) + 1
    return np.split(items[order] - 1, starts)
