"""KuaiRand's short-video impressions as actions, several of one impression where there were several.

An impression without a click is a ``view`` (it was shown); each true column of ``ACTION_COLUMNS`` is an action of its
own at the same moment. The tab is the surface; seconds played are the value.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from features.actions import Vocabulary
from models.datasets.base import EventLog, LogRefusedError, event_log, read_parquet_columns, whole_milliseconds

ACTION_COLUMNS = {
    "click": "is_click",
    "long_view": "long_view",
    "like": "is_like",
    "follow": "is_follow",
    "comment": "is_comment",
    "forward": "is_forward",
    "hide": "is_hate",
    "profile": "is_profile_enter",
}
POSITIVES = ("click", "long_view", "like", "follow", "comment", "forward")
NEGATIVES = ("hide",)
COLUMNS = ("user_id", "video_id", "time_ms", "play_time_ms", "tab", *ACTION_COLUMNS.values())
NUM_TABS = 15  # KuaiRand's tabs are 0 to 14
VOCABULARY = Vocabulary(("view", *ACTION_COLUMNS), tuple(f"tab{tab}" for tab in range(NUM_TABS)))


def read_kuairand(path: Path) -> EventLog:
    """Read an impressions file (Parquet) with KuaiRand's column names; repeated impressions count once."""
    if path.is_dir():
        path = path / "impressions.parquet"
    columns = read_parquet_columns(path, COLUMNS)
    tabs = np.asarray(columns["tab"], np.int64)
    if len(tabs) and (tabs.min() < 0 or tabs.max() >= NUM_TABS):
        raise LogRefusedError(f"{path}: tabs from {tabs.min()} to {tabs.max()}; KuaiRand's are 0 to {NUM_TABS - 1}")
    once = _first_of_each(columns)
    rows, actions = _actions(columns, once)
    return event_log(
        VOCABULARY,
        columns["user_id"][rows],
        columns["video_id"][rows],
        actions,
        whole_milliseconds(columns["time_ms"][rows], 1, str(path)),
        tabs[rows] + 1,
        np.asarray(columns["play_time_ms"], np.float64)[rows] / 1000,
    )


def _first_of_each(columns: Any) -> npt.NDArray[np.int64]:
    """Give the rows of the impressions without repetitions of (user, video, time)."""
    triples = np.stack([np.asarray(columns[name], np.int64) for name in ("user_id", "video_id", "time_ms")], axis=1)
    return np.sort(np.unique(triples, axis=0, return_index=True)[1]).astype(np.int64)


def _actions(columns: Any, once: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Give source row and action code of each action: one a true column, ``view`` where no column is true."""
    done = np.stack([np.asarray(columns[name])[once] > 0 for name in ACTION_COLUMNS.values()], axis=1)  # (n, actions)
    done = np.concatenate([~done.any(axis=1, keepdims=True), done], axis=1)
    at, action = np.nonzero(done)
    return once[at], action.astype(np.int64) + 1
