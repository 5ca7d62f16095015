"""MIND's news impressions as lists that were shown, and clicks: ``behaviors.tsv`` as Microsoft News published it.

A row is a list of news that a user was shown, each with whether it was clicked, and what the user had clicked before:
in order, but without times. Wu et al., "MIND: A Large-scale Dataset for News Recommendation", ACL 2020, section 3.1:
lists are of the fifth and sixth of six weeks, histories of the weeks before them. All rows of a user have the same
history, so it is read once; its clicks are spread evenly over the first four weeks, which lie before every list.

The lists of the test set say nothing of clicks: a row of it is not read as MIND's.
"""

import numpy as np

from rankstream.events.arrivals import LogError
from rankstream.events.log_kind import LogKind
from rankstream.events.public.batches import Batch, Form, Ints, PublicLog, named, wire
from rankstream.events.skipped import Skipped
from rankstream.features.actions import Vocabulary

SHOWN = "impression"
VOCABULARY = Vocabulary(("click", SHOWN))
HISTORY_FROM_MS, HISTORY_UNTIL_MS = 1_570_838_400_000, 1_573_257_600_000  # 12 October to 9 November 2019
NO_LIST = -1
TIME = r"\d{1,2}/\d{1,2}/\d{4} \d{1,2}:\d\d:\d\d [AP]M"
FIELDS = (
    ("impression_id", r"\d+"),
    ("user_id", r"U\d+"),
    ("time", TIME),
    ("history", r"(N\d+( N\d+)*)?"),
    ("impressions", r"N\d+-[01]( N\d+-[01])*"),
)


class _Translation:
    """Rows to impressions and clicks; a user's history comes before the first row of the user."""

    def __init__(self, _: Skipped) -> None:
        self._known = set[str]()

    def __call__(self, batch: Batch) -> Batch:
        users: list[str] = []
        items: list[str] = []
        codes: list[int] = []
        times: list[int] = []
        lists: list[int] = []
        rows = zip(*(batch.column(name).to_pylist() for name, _ in FIELDS if name != "time"), strict=True)
        for at_ms, (list_id, user, history, shown) in zip(times_of(batch).tolist(), rows, strict=True):
            if user not in self._known:
                self._known.add(user)
                before = (history or "").split()
                users += [user] * len(before)
                items += before
                codes += [0] * len(before)
                times += spread(len(before)).tolist()
                lists += [NO_LIST] * len(before)
            for one in (shown or "").split():
                item, _, clicked = one.rpartition("-")
                done = (1, 0) if clicked == "1" else (1,)
                users += [user] * len(done)
                items += [item] * len(done)
                codes += done
                times += [at_ms] * len(done)
                lists += [int(list_id)] * len(done)
        return _wired(users, items, codes, times, lists)


def _wired(users: list[str], items: list[str], codes: list[int], times: list[int], lists: list[int]) -> Batch:
    import pyarrow as pa

    ids = np.array(lists, np.int64)
    return wire(
        user_id=pa.array(users, pa.string()),
        item_id=pa.array(items, pa.string()),
        action=named(np.array(codes, np.int64), VOCABULARY.actions),
        timestamp_ms=np.array(times, np.int64),
        list_id=pa.array(ids, mask=ids == NO_LIST),
    )


def spread(count: int) -> Ints:
    """Return so many times of the first four weeks, evenly, the first and the last within them."""
    gap_ms = (HISTORY_UNTIL_MS - HISTORY_FROM_MS) / (count + 1)
    times: Ints = (HISTORY_FROM_MS + gap_ms * np.arange(1, count + 1)).astype(np.int64)
    return times


def times_of(batch: Batch) -> Ints:
    """Return when each list was shown. Raises ``LogError`` for a time that is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = batch.column("time")
    try:
        times = pc.strptime(texts, format="%m/%d/%Y %I:%M:%S %p", unit="ms")
    except pa.ArrowInvalid as exc:
        raise LogError(f"column time holds no times as 11/15/2019 9:05:58 AM ({exc}); take those rows out") from exc
    days = pc.list_element(pc.split_pattern(texts, "/"), 1).cast(pa.int64())
    if none := pc.filter(texts, pc.not_equal(pc.day(times), days)).to_pylist():  # 31 November was read as 1 December
        raise LogError(f"column time holds {none[0]}, a day that is none; take those rows out")
    whole: Ints = times.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return whole


LOG = PublicLog(
    LogKind("mind", ("click",), (), {"click": ("click",)}, {"click": 1.0}),
    VOCABULARY,
    (
        Form(
            tuple(name for name, _ in FIELDS),
            _Translation,
            "time",
            "ms",
            fields=FIELDS,
            delimiters=("\t",),
            quoted=False,
        ),
    ),
    ("behaviors.tsv",),
    shown=SHOWN,
)
