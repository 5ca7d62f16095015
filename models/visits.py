"""Visits of a log of exposures as ranking requests: what was shown within one visit is what was to be ranked.

::

    a user's exposures     a b  c ........ d ........ e f          ........ = more than 30 minutes
    requests               |               |          |
      state                before a        a b c      a b c d      strictly earlier, also before since_ms
      candidates           a b c           d          e f          labels: what was done to each

Unlike ``ranker_data.ranking_examples`` nothing is drawn: what was shown and left is the negative.
"""

from collections.abc import Iterator

import numpy as np

from features.history import DEFAULT_LIMIT, History
from features.ids import id_keys
from features.join import Joinable
from features.sessions import SESSION_GAP_MS
from features.user_state import UserState
from models.datasets.base import EventLog
from models.ranker_data import (
    Heads,
    RankingExample,
    acted_on,
    advanced,
    head_labels,
    packed_actions,
    rows_by_user,
)


def visit_examples(
    log: EventLog,
    heads: Heads,
    batch: Joinable,
    *,
    since_ms: int = 0,
    gap_ms: int = SESSION_GAP_MS,
    limit: int = DEFAULT_LIMIT,
) -> Iterator[RankingExample]:
    """Give a request for every visit that begins at ``since_ms`` or later, user by user, oldest first.

    Only the sessions of ``batch`` and its items are asked, for recurrent states. Candidates are in the order of their
    keys, which tells nothing of where they were shown.
    """
    labels_of = head_labels(log, heads)
    items = id_keys(log.item_ids.tolist())
    packed = packed_actions(log, items)
    for user_key, rows in rows_by_user(log):
        state = UserState(History(b"", limit))
        for visit in np.split(rows, _starts(log, rows, since_ms, gap_ms)):
            now_ms = int(log.times_ms[visit[0]])
            if now_ms >= since_ms:
                candidates, labels = acted_on(items[visit], labels_of[log.actions[visit]])
                yield RankingExample(user_key, state, now_ms, candidates, labels)
            state = advanced(state.apply([packed[row] for row in visit], int(visit[-1])), batch)


def _starts(log: EventLog, rows: "np.ndarray[tuple[int], np.dtype[np.int64]]", since_ms: int, gap_ms: int) -> list[int]:
    """Give where a user's rows are to be cut: between visits from ``since_ms`` on, and where that begins."""
    times = log.times_ms[rows]
    begin = int(np.searchsorted(times, since_ms))
    cuts = begin + 1 + np.flatnonzero(np.diff(times[begin:]) > gap_ms)
    return ([begin] if 0 < begin < len(rows) else []) + cuts.tolist()
