"""KuaiRand's short-video impressions as actions, several of one impression where there were several.

Each true column of ``ACTION_COLUMNS`` is an action of its own at the same moment. An impression without any is a
``skip`` if it began to play and was left within two seconds, else a ``view`` (it was shown). The tab is the surface;
seconds played are the value.

The part of KuaiRand-Pure that is at hand has a second file, what users saw in the two weeks before: in order, but
without times (``read_kuairand_history``).
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rankstream.events.log import EventLog, LogRefusedError, event_log, read_parquet_columns, whole_milliseconds
from rankstream.features.actions import Vocabulary

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
# What a ranker predicts, and what each is worth in the score. Follows, comments and forwards are too few to learn (195,
# 386 and 124 in nine days), and so are hides (127): a hide counts with the skips, which are the same answer, milder.
HEADS = {"click": ("click",), "long_view": ("long_view",), "like": ("like",), "skip": ("skip", "hide")}
UTILITY = {"click": 1.0, "long_view": 1.0, "like": 1.0, "skip": -1.0}
NUM_TABS = 15  # KuaiRand's tabs are 0 to 14
SKIP_MS = 2000  # a quarter of the main feed's impressions; a click there means that 7 s and more were played
VOCABULARY = Vocabulary(
    ("view", *ACTION_COLUMNS, "skip", "exposed"),  # exposed: shown long ago, and not known whether it was clicked
    tuple(f"tab{tab}" for tab in range(NUM_TABS)),
)
HISTORY_COLUMNS = ("user_id", "history_len", "last_time_ms", "watch_seq", "like_seq", "long_watch_seq")
HISTORY_FROM_MS = 1_649_433_600_000  # 9 April 2022 in Beijing: the first day of the log
IMPRESSIONS, HISTORY = "impressions.parquet", "user_history_before_apr25.parquet"


def read_kuairand(path: Path) -> EventLog:
    """Read an impressions file (Parquet) with KuaiRand's column names; repeated impressions count once."""
    if path.is_dir():
        path = path / IMPRESSIONS
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
    """Return the rows of the impressions without repetitions of (user, video, time)."""
    triples = np.stack([np.asarray(columns[name], np.int64) for name in ("user_id", "video_id", "time_ms")], axis=1)
    return np.sort(np.unique(triples, axis=0, return_index=True)[1]).astype(np.int64)


def _actions(columns: Any, once: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return source row and action code of each action."""
    done = np.stack([np.asarray(columns[name])[once] > 0 for name in ACTION_COLUMNS.values()], axis=1)  # (n, actions)
    at, codes = actions_done(done, np.asarray(columns["play_time_ms"], np.int64)[once])
    return once[at], codes


def actions_done(
    done: npt.NDArray[np.bool_], played_ms: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return row and code of each action of impressions with true columns ``(n, ACTION_COLUMNS)``.

    One a true column; where none is true, ``view``, or ``skip`` if it was left at once.
    """
    nothing, skipped = ~done.any(axis=1), (played_ms > 0) & (played_ms < SKIP_MS)
    at, action = np.nonzero(np.column_stack([nothing & ~skipped, done, nothing & skipped]))
    return at, action.astype(np.int64) + 1


def read_kuairand_history(path: Path) -> EventLog:
    """Read what users saw before the impressions: up to 50 each, the newest, in order but without times.

    The file says when a user's last one was, and how many there were. They are spread evenly over the time from 9 April
    to the last one, at the user's own mean rate: right on average, and every one before the impressions begin. An
    entry among the long-viewed is a ``click`` and a ``long_view``, one among the liked a ``like``, others ``exposed``.
    """
    if path.is_dir():
        path = path / HISTORY
    columns = read_parquet_columns(path, HISTORY_COLUMNS)
    users, items, actions, times = [], [], [], []
    codes = VOCABULARY.action_codes
    for row, watched in enumerate(columns["watch_seq"]):
        last_ms = int(columns["last_time_ms"][row])
        gap_ms = (last_ms - HISTORY_FROM_MS) / max(int(columns["history_len"][row]), len(watched), 1)
        positive, viewed = set(columns["like_seq"][row].tolist()), set(columns["long_watch_seq"][row].tolist())
        for place, item in enumerate(watched.tolist()):
            done = ["click", "long_view"] * (item in viewed) + ["like"] * (item in positive)
            for action in done or ["exposed"]:
                users.append(columns["user_id"][row])
                items.append(item)
                actions.append(codes[action])
                times.append(last_ms - int((len(watched) - 1 - place) * gap_ms))
    return event_log(
        VOCABULARY,
        np.array(users, np.int64),
        np.array(items, np.int64),
        np.array(actions, np.int64),
        whole_milliseconds(np.array(times, np.int64), 1, str(path)),
        np.zeros(len(users), np.int64),
        np.full(len(users), np.nan),
    )


def read_kuairand_whole(folder: Path) -> EventLog:
    """Read the impressions and what came before them as one log."""
    past, log = read_kuairand_history(folder), read_kuairand(folder)
    none = np.zeros(len(past), np.int64)
    return event_log(
        VOCABULARY,
        np.concatenate([past.user_ids, log.user_ids]),
        np.concatenate([past.item_ids, log.item_ids]),
        np.concatenate([past.actions, log.actions]),
        np.concatenate([past.times_ms, log.times_ms]),
        np.concatenate([none, none[:0] if log.surfaces is None else log.surfaces]),
        np.concatenate([np.full(len(past), np.nan), np.zeros(0) if log.values is None else log.values]),
    )


def read_durations(folder: Path, max_ms: float = 300_000.0) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return videos and the logarithm of their length, around 0; of ``videos.parquet``'s columns only this is read.

    Its counters are of the whole month and would tell the future.
    """
    columns = read_parquet_columns(folder / "videos.parquet", ("video_id", "video_duration"))
    seconds = np.nan_to_num(np.asarray(columns["video_duration"], np.float64), nan=20_000.0).clip(1000, max_ms) / 1000
    return np.asarray(columns["video_id"], np.int64), (np.log(seconds / 20) / 2).astype(np.float32)


def read_tags(folder: Path) -> dict[int, tuple[str, str]]:
    """Return the first tag and the author of each video: what diversity is counted in."""
    columns = read_parquet_columns(folder / "videos.parquet", ("video_id", "tag", "author_id"))
    rows = zip(columns["video_id"].tolist(), columns["tag"], columns["author_id"].tolist(), strict=True)
    return {int(video): (str(tag).split(",")[0], str(author)) for video, tag, author in rows}
