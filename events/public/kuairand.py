"""KuaiRand's short-video impressions as actions, several of one impression where there were several.

Each true column of ``ACTION_COLUMNS`` is an action of its own at the same time. An impression without any is a
``skip`` if it began to play and was left within two seconds, else a ``view`` (it was shown). The tab is the surface;
seconds played are the value.

As published: ``log_standard_*.csv`` and ``log_random_*.csv``, all of which are one log. Beside the impressions of a
part of it may lie what users saw in the two weeks before: in order, but without times (``translated_history``).
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from rankstream.events.arrivals import LogError
from rankstream.events.log_kind import LogKind
from rankstream.events.public.batches import Batch, Form, Ints, PublicLog, integers, named, wire
from rankstream.events.skipped import Skipped
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
# What a ranker predicts, and the weight of each in the score. Follows, comments and forwards are too few to learn (195,
# 386 and 124 in nine days), and so are hides (127): they count as skips, the milder form of the same feedback.
HEADS = {"click": ("click",), "long_view": ("long_view",), "like": ("like",), "skip": ("skip", "hide")}
UTILITY = {"click": 1.0, "long_view": 1.0, "like": 1.0, "skip": -1.0}
NUM_TABS = 15  # KuaiRand's tabs are 0 to 14
SKIP_MS = 2000  # a quarter of the main feed's impressions; a click there means that 7 s and more were played
VOCABULARY = Vocabulary(
    ("view", *ACTION_COLUMNS, "skip", "exposed"),  # exposed: shown long ago, and not known whether it was clicked
    tuple(f"tab{tab}" for tab in range(NUM_TABS)),
)
HISTORY_FROM_MS = 1_649_433_600_000  # 9 April 2022 in Beijing: the first day of the log
IMPRESSIONS, HISTORY = "impressions.parquet", "user_history_before_apr25.parquet"
REMEMBERED = 4096  # impressions in which a repetition is looked for


class _Translation:
    """Impressions to actions; repeated impressions count once."""

    def __init__(self, skipped: Skipped) -> None:
        self._skipped = skipped
        self._seen = np.empty((0, 3), np.int64)  # the last impressions: repetitions follow within a few rows

    def __call__(self, batch: Batch) -> Batch:
        triples = np.stack([integers(batch, name) for name in ("user_id", "video_id", "time_ms")], axis=1)
        once = self._first_of_each(triples)
        if repeated := len(triples) - len(once):
            user, video, at_ms = triples[np.setdiff1d(np.arange(len(triples)), once)[0]]
            example = f"user {user} saw video {video} at {at_ms} once more"
            self._skipped.ignore("repeated: an impression that came before", example, count=repeated)
        tabs = integers(batch, "tab")
        if len(tabs) and (tabs.min() < 0 or tabs.max() >= NUM_TABS):
            raise LogError(f"tabs from {tabs.min()} to {tabs.max()}; KuaiRand's are 0 to {NUM_TABS - 1}")
        done = np.stack([integers(batch, name)[once] > 0 for name in ACTION_COLUMNS.values()], axis=1)
        at, codes = actions_done(done, integers(batch, "play_time_ms")[once])
        rows = once[at]
        return wire(
            user_id=integers(batch, "user_id")[rows],
            item_id=integers(batch, "video_id")[rows],
            action=named(codes - 1, VOCABULARY.actions),
            timestamp_ms=integers(batch, "time_ms")[rows],
            surface=named(tabs[rows], VOCABULARY.surfaces),
            value=integers(batch, "play_time_ms")[rows] / 1000,
        )

    def _first_of_each(self, triples: Ints) -> Ints:
        known = len(self._seen)
        both = np.concatenate([self._seen, triples])
        self._seen = both[-REMEMBERED:]
        first = np.sort(np.unique(both, axis=0, return_index=True)[1])
        return (first[first >= known] - known).astype(np.int64)


def actions_done(
    done: npt.NDArray[np.bool_], played_ms: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return row and code of each action of impressions with true columns ``(n, ACTION_COLUMNS)``.

    One a true column; where none is true, ``view``, or ``skip`` if it was left at once.
    """
    nothing, skipped = ~done.any(axis=1), (played_ms > 0) & (played_ms < SKIP_MS)
    at, action = np.nonzero(np.column_stack([nothing & ~skipped, done, nothing & skipped]))
    return at, action.astype(np.int64) + 1


def translated_history(batch: Batch) -> Batch:
    """Return what users saw before the impressions: up to 50 each, the newest, in order but without times.

    The file holds the time of a user's last one, and how many there were. They are spread evenly over the time from 9
    April to the last one, at the user's own mean rate: right on average, and every one before the impressions begin. An
    entry among the long-viewed is a ``click`` and a ``long_view``, one among the liked a ``like``, others ``exposed``.
    """
    users, items, actions, times = [], [], [], []
    for row in batch.to_pylist():
        watched, last_ms = row["watch_seq"], int(row["last_time_ms"])
        gap_ms = (last_ms - HISTORY_FROM_MS) / max(int(row["history_len"]), len(watched), 1)
        liked, viewed = set(row["like_seq"]), set(row["long_watch_seq"])
        for position, item in enumerate(watched):
            done = ["click", "long_view"] * (item in viewed) + ["like"] * (item in liked)
            for action in done or ["exposed"]:
                users.append(row["user_id"])
                items.append(item)
                actions.append(action)
                times.append(last_ms - int((len(watched) - 1 - position) * gap_ms))
    return wire(
        user_id=np.array(users, np.int64),
        item_id=np.array(items, np.int64),
        action=named(np.array([VOCABULARY.action_codes[one] - 1 for one in actions], np.int64), VOCABULARY.actions),
        timestamp_ms=np.array(times, np.int64),
    )


KIND = LogKind("kuairand", POSITIVES, NEGATIVES, HEADS, UTILITY, exposures=True)
LOG = PublicLog(
    KIND,
    VOCABULARY,
    (
        Form(
            ("user_id", "video_id", "time_ms", "play_time_ms", "tab", *ACTION_COLUMNS.values()),
            _Translation,
            "time_ms",
            "ms",
        ),
    ),
    (IMPRESSIONS,),
    (
        HISTORY,
        Form(
            ("user_id", "history_len", "last_time_ms", "watch_seq", "like_seq", "long_watch_seq"),
            lambda _: translated_history,
            "last_time_ms",
            "ms",
        ),
    ),
)


def read_durations(folder: Path, max_ms: float = 300_000.0) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return videos and the logarithm of their length, around 0; of ``videos.parquet``'s columns only this is read.

    Its counters are of the whole month and would leak the future.
    """
    from rankstream.events.readers.columns import read_columns

    columns = read_columns(folder / "videos.parquet", ("video_id", "video_duration"))
    seconds = np.nan_to_num(np.asarray(columns["video_duration"], np.float64), nan=20_000.0).clip(1000, max_ms) / 1000
    return np.asarray(columns["video_id"], np.int64), (np.log(seconds / 20) / 2).astype(np.float32)


def read_tags(folder: Path) -> dict[int, tuple[str, str]]:
    """Return the first tag and the author of each video: what diversity is measured by."""
    from rankstream.events.readers.columns import read_columns

    columns = read_columns(folder / "videos.parquet", ("video_id", "tag", "author_id"))
    rows = zip(columns["video_id"].tolist(), columns["tag"], columns["author_id"].tolist(), strict=True)
    return {int(video): (str(tag).split(",")[0], str(author)) for video, tag, author in rows}
