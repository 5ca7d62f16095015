"""Taobao's UserBehavior as actions: page views, carts, favourites, purchases, with times in seconds."""

from pathlib import Path

import numpy as np

from rankstream.events.log import EventLog, LogRefusedError, event_log, read_parquet_columns, whole_milliseconds
from rankstream.features.actions import Vocabulary

NAMES = {"pv": "view", "fav": "save", "cart": "cart", "buy": "buy"}
VOCABULARY = Vocabulary(tuple(NAMES.values()))
POSITIVES = ("save", "cart", "buy")
NEGATIVES = ()
COLUMNS = ("user_id", "item_id", "behavior", "timestamp")


def read_taobao(path: Path) -> EventLog:
    """Read ``user_id, item_id, behavior, timestamp`` of a Parquet file; rows without a time are left out."""
    if path.is_dir():
        path = path / "events.parquet"
    columns = read_parquet_columns(path, COLUMNS)
    whole = ~np.isnan(np.asarray(columns["timestamp"], np.float64))  # a head of the file ends in half a row
    columns = {name: column[whole] for name, column in columns.items()}
    codes = np.zeros(len(columns["behavior"]), np.int64)
    for code, behavior in enumerate(NAMES, start=1):
        codes[columns["behavior"] == behavior] = code
    if not codes.all():
        unknown = columns["behavior"][codes == 0][0]
        raise LogRefusedError(f"{path}: unknown behaviour {unknown!r}; wanted {', '.join(NAMES)}")
    times_ms = whole_milliseconds(columns["timestamp"], 1000, str(path))
    return event_log(VOCABULARY, columns["user_id"], columns["item_id"], codes, times_ms)
