"""Logged impressions as ranking requests: the impressions of one session are the candidates of one request.

All candidates of a request are joined with one state, as of the session's first impression. An impression joined with
the state of its own time would know the outcomes of the impressions before it: within one user the clicks of a session
are negatively correlated, as their sum is given. A list whose candidates had states of different times would therefore
penalise every model that uses the newest actions.

::

    a user's impressions     a b  c ........ d ........ e f          ........ = more than 30 minutes
    requests                 |               |          |
      state                  before a        a b c      a b c d      strictly earlier, also before since_ms
      candidates             a b c           d          e f          labels: what was done to each

Unlike in ``examples.ranking_examples`` nothing is sampled: impressions without an action are the negatives.
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

Cut = Callable[[Ints], Ints]  # times of a user's actions, sorted -> indices at which a new request begins


def impression_examples(
    log: EventLog,
    heads: Heads,
    offline: OfflineFeatures,
    *,
    since_ms: int = 0,
    cut: Cut | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Iterator[RankingExample]:
    """Yield a request for every session of impressions that begins at ``since_ms`` or later, by user, oldest first.

    ``cut`` splits impressions into sessions, ``by_gap()`` if none is given. Of ``offline`` only the session encoder and
    the items are used, for recurrent states. Candidates are sorted by key, which carries no position.
    """
    labels_of = head_labels(log, heads)
    items, packed = log.item_keys, packed_actions(log)
    for user_key, rows in rows_by_user(log):
        state = UserState(History(b"", limit))
        for session in np.split(rows, _starts(log.times_ms[rows], since_ms, cut or by_gap())):
            now_ms = int(log.times_ms[session[0]])
            if now_ms >= since_ms:
                candidates, labels = acted_on(items[session], labels_of[log.actions[session]])
                yield RankingExample(user_key, state, now_ms, candidates, labels)
            state = advanced(state.apply([packed[row] for row in session], int(session.max())), offline)


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
    """Return where to split a user's rows: at ``since_ms``, and from there on where ``cut`` does."""
    begin = int(np.searchsorted(times, since_ms))
    cuts: list[int] = (begin + cut(times[begin:])).tolist()
    return ([begin] if 0 < begin < len(times) else []) + cuts
