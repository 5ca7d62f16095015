"""Logged impressions as ranking requests: a shown list, or the impressions of one session, is one request.

Where a log says what was shown apart from what was done (``events/impressions.py``), each list is a request, and what
followed on its items are the labels::

    shown         [a b c]      [d e f]
    actions               b        e    a
    requests      |            |
      state       nothing      b                     strictly before the list
      labels      a b          e                     within half an hour, by the newest list that showed the item

Where both come as one row, the impressions of a session are the candidates of one request. They are joined with one
state, as of the session's first impression. An impression joined with
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

from rankstream.events.arrivals import LogError
from rankstream.events.impressions import Impressions
from rankstream.events.labels import Heads, head_labels, list_labels
from rankstream.events.log import EventLog
from rankstream.events.sequences import packed_actions, rows_by_user
from rankstream.features.history import DEFAULT_LIMIT, History
from rankstream.features.join import DAY_MS, OfflineFeatures
from rankstream.features.schema import Ints
from rankstream.features.sessions import SESSION_GAP_MS
from rankstream.features.user_state import UserState
from rankstream.models.ranker.examples import RankingExample, acted_on, advanced
from rankstream.models.ranker.places import places_of

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
    """Yield a request for every list, or session of impressions, from ``since_ms`` on, by user, oldest first.

    ``cut`` splits impressions into sessions, ``by_gap()`` if none is given. Of ``offline`` only the session encoder and
    the items are used, for recurrent states. Candidates are sorted by key, which carries no position; those of a list
    are given beside them, where its log says them. A list has its surface, a session the one that it begins on. Raises
    ``LogError`` for a log whose lists are all earlier.
    """
    if log.impressions is not None:
        yield from _list_examples(log, log.impressions, heads, offline, since_ms, limit)
        return
    labels_of = head_labels(log, heads)
    items, surfaces, packed = log.item_keys, log.surface_codes, packed_actions(log)
    for user_key, rows in rows_by_user(log):
        state = UserState(History(b"", limit))
        for session in np.split(rows, _starts(log.times_ms[rows], since_ms, cut or by_gap())):
            now_ms = int(log.times_ms[session[0]])
            if now_ms >= since_ms:
                candidates, labels = acted_on(items[session], labels_of[log.actions[session]])
                begins = session[log.times_ms[session] == now_ms]
                surface = int(surfaces[begins].max())
                yield RankingExample(user_key, state, now_ms, candidates, labels, surface=surface)
            state = advanced(state.apply(packed[session].tolist(), int(session.max())), offline)


def _list_examples(
    log: EventLog, shown: Impressions, heads: Heads, offline: OfflineFeatures, since_ms: int, limit: int
) -> Iterator[RankingExample]:
    if not len(shown) or int(shown.times_ms[-1]) < since_ms:
        raise LogError(_too_early(shown, since_ms))
    labels, packed = list_labels(log, shown, heads), packed_actions(log)
    places = places_of(shown.positions, shown.first_position)
    rows_of = dict(rows_by_user(log))
    order = np.argsort(shown.user_keys, kind="stable")
    for lists in np.split(order, np.flatnonzero(np.diff(shown.user_keys[order]) != 0) + 1):
        user_key = int(shown.user_keys[lists[0]])
        rows = rows_of.get(user_key, np.zeros(0, np.int64))
        cuts = np.searchsorted(log.times_ms[rows], shown.times_ms[lists]).tolist()
        state, done = UserState(History(b"", limit)), 0
        for one, until in zip(lists.tolist(), cuts, strict=True):
            if until > done:
                known = rows[done:until]
                state = advanced(state.apply(packed[known].tolist(), int(known.max())), offline)
                done = until
            if shown.times_ms[one] >= since_ms:
                items = slice(int(shown.starts[one]), int(shown.starts[one + 1]))
                by_key = np.argsort(shown.item_keys[items])
                candidates, now_ms = shown.item_keys[items][by_key], int(shown.times_ms[one])
                yield RankingExample(
                    user_key,
                    state,
                    now_ms,
                    candidates,
                    labels[items][by_key],
                    surface=int(shown.surfaces[one]),
                    places=places[items][by_key] if places[items].any() else None,
                )


def _too_early(shown: Impressions, since_ms: int) -> str:
    if not len(shown):
        return "no list was shown before the training's end; give impressions of that time, or a later --until"
    return (
        f"the ranker's lists are those shown from {since_ms} ms on, after what encoders learn from, but the newest of "
        f"{len(shown):,} was shown at {int(shown.times_ms[-1])} ms; give impressions up to the log's end, or an "
        "earlier --until"
    )


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
