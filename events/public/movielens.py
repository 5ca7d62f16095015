"""MovieLens ratings as actions: 5 is a save, 4 a click, 3 a view, less a hide (``stars.py``).

As published: ``u.data`` (100K), ``ratings.dat`` (1M, 10M) and ``ratings.csv`` (20M and later, in half stars). Any file
with the columns ``user_id, item_id, rating, timestamp`` is read so, too; RecBole's ``ml-100k.inter``, whose headings
carry types, is one. Ratings in columns of other names are, where ``--format movielens`` says so.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from rankstream.events.log_kind import LogKind
from rankstream.events.public import stars
from rankstream.events.public.batches import PublicLog

VOCABULARY, POSITIVES, NEGATIVES = stars.VOCABULARY, stars.POSITIVES, stars.NEGATIVES
KIND = LogKind(
    "movielens",
    POSITIVES,
    NEGATIVES,
    stars.HEADS,
    stars.UTILITY,
)

OURS = ("user_id", "item_id", "rating", "timestamp")
FROM_20M = ("userId", "movieId", "rating", "timestamp")
FIELDS = (r"\d+", r"\d+", r"[0-5](\.[05])?", r"\d{9,10}")

LOG = PublicLog(
    KIND,
    VOCABULARY,
    (
        stars.ratings_of(*OURS),
        stars.ratings_of(*FROM_20M),
        stars.ratings_of(*OURS, "s", fields=tuple(zip(OURS, FIELDS, strict=True)), delimiters=("\t", "::")),
    ),
    ("inter.parquet", "ml-100k.inter", "u.data", "ratings.dat", "ratings.csv"),
    like=stars.ratings_by_name,
)


def read_sequences(path: Path) -> list[npt.NDArray[np.int64]]:
    """Read each user's items in the order of their ratings, as rows 0, 1, ...: MovieLens-1M as SASRec's file has it.

    ``path`` is ``sequences.parquet`` or its folder, with ``sas_user, sas_item`` (from 1) and ``position`` (0 first).
    """
    from rankstream.events.readers.columns import read_columns

    file = path / "sequences.parquet" if path.is_dir() else path
    columns = read_columns(file, ("sas_user", "sas_item", "position"))
    users, items, positions = (np.asarray(columns[name], np.int64) for name in ("sas_user", "sas_item", "position"))
    order = np.lexsort((positions, users))
    starts = np.flatnonzero(np.diff(users[order])) + 1
    return np.split(items[order] - 1, starts)
