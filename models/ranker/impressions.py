"""Visits of a log of exposures as ranking requests: what was shown within one visit is what was to be ranked.

All of a request's candidates are joined with one state, that of the request's moment. That is more than a convenience:
an exposure joined with the state of its own moment knows what the user did with the exposures before it, and within
one user those who just clicked are the less likely to click again, the sum being what it is. Lists of exposures of
different moments would punish whoever looks at what the user just did.

::

    a user's exposures     a b  c ........ d ........ e f          ........ = more than 30 minutes
    requests               |               |          |
      state                before a        a b c      a b c d      strictly earlier, also before since_ms
      candidates           a b c           d          e f          labels: what was done to each

Unlike ``ranker_data.ranking_examples`` nothing is drawn: what was shown and left is the negative.
"""

from collections.abc import Callable, Iterator

import numpy as np

from rankstream.events.labels import Heads, head_labels
from rankstream.events.log import EventLog
from rankstream.events.sequences import packed_actions, rows_by_user
from rankstream.features.history import DEFAULT_LIMIT, History
from rankstream.features.join import DAY_MS, OfflineFeatures
from rankstream.features.schema import Ints
from rankstream.features.sessions import SESSION_GAP_MS
from rankstream.features.user_state import UserState
from rankstream.models.ranker.examples import RankingExample, acted_on, advanced

Cut = Callable[[Ints], Ints]  # times of a user's actions, sorted -> where a new request begins


def visit_examples(
    log: EventLog,
    heads: Heads,
    offline: OfflineFeatures,
    *,
    since_ms: int = 0,
    cut: Cut | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Iterator[RankingExample]:
    """Yield a request for every visit that begins at ``since_ms`` or later, user by user, oldest first.

    ``cut`` says what belongs together, ``by_gap()`` if it is not given.
    Only the sessions of ``batch`` and its items are asked, for recurrent states. Candidates are in the order of their
    keys, which tells nothing of where they were shown.
    """
    labels_of = head_labels(log, heads)
    items, packed = log.item_keys, packed_actions(log)
    for user_key, rows in rows_by_user(log):
        state = UserState(History(b"", limit))
        for visit in np.split(rows, _starts(log.times_ms[rows], since_ms, cut or by_gap())):
            now_ms = int(log.times_ms[visit[0]])
            if now_ms >= since_ms:
                candidates, labels = acted_on(items[visit], labels_of[log.actions[visit]])
                yield RankingExample(user_key, state, now_ms, candidates, labels)
            state = advanced(state.apply([packed[row] for row in visit], int(visit.max())), offline)


def by_gap(gap_ms: int = SESSION_GAP_MS) -> Cut:
    """Cut where more than ``gap_ms`` passed."""
    return lambda times: np.flatnonzero(np.diff(times) > gap_ms) + 1


def by_day(offset_ms: int) -> Cut:
    """Cut at midnight, ``offset_ms`` ahead of UTC."""
    return lambda times: np.flatnonzero(np.diff((times + offset_ms) // DAY_MS)) + 1


def by_either(one: Cut, other: Cut) -> Cut:
    """Cut where one or the other does."""
    return lambda times: np.union1d(one(times), other(times))


def _starts(times: Ints, since_ms: int, cut: Cut) -> list[int]:
    """Return where a user's rows are to be cut: at ``since_ms``, and from there on as ``cut`` says."""
    begin = int(np.searchsorted(times, since_ms))
    cuts: list[int] = (begin + cut(times[begin:])).tolist()
    return ([begin] if 0 < begin < len(times) else []) + cuts
