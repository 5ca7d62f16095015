"""30Music's plays as actions: each is a ``play``, its value the seconds listened; 30 s and more make a ``listen``."""

from pathlib import Path

import numpy as np

from rankstream.events.log import EventLog, event_log, read_parquet_columns, whole_milliseconds
from rankstream.features.actions import Vocabulary

VOCABULARY = Vocabulary(("play", "listen"))
POSITIVES = ("listen",)
NEGATIVES = ()
LISTENED_S = 30.0  # what the music trade counts as a stream
COLUMNS = ("user_id", "song_id", "ts", "playtime")


def read_music30(path: Path) -> EventLog:
    """Read a Parquet file with the columns ``user_id, song_id, ts, playtime`` (seconds)."""
    if path.is_dir():
        path = path / "plays.parquet"
    columns = read_parquet_columns(path, COLUMNS)
    seconds = np.asarray(columns["playtime"], np.float64)
    seconds = np.where(seconds >= 0, seconds, np.nan)  # negative and missing play times exist: no value
    return event_log(
        VOCABULARY,
        columns["user_id"],
        columns["song_id"],
        np.where(seconds >= LISTENED_S, 2, 1).astype(np.int64),
        whole_milliseconds(columns["ts"], 1000, str(path)),
        values=seconds,
    )
