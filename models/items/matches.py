"""The match tables of a log: followers, neighbours and sessions of its items (``features/matches/tables.py``).

Nothing is learned here, only counted. A session ends where the stream ends it; an item counts once in a session, and
sessions of more than ``MAX_SESSION_ITEMS`` items are cut. Time is bounded: pairs of a session's items are counted up to
a distance, which is smaller where a log has many actions; so is memory (``pairs.py``).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from rankstream.events.log import EventLog, starts_of
from rankstream.features.embeddings.key_search import KeySearch
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.ids import Keys
from rankstream.features.matches.tables import Lists, MatchTables, WeighedLists, no_lists
from rankstream.features.schema import Bools, Ints
from rankstream.features.sessions import SESSION_GAP_MS
from rankstream.models.items.pairs import counted_pairs

MAX_FOLLOWERS = MAX_NEIGHBOURS = 200  # of an item, that are kept
MAX_SESSIONS = 500  # newest sessions of an item, that are kept
MAX_SESSION_ITEMS = 100  # of a session; a longer one goes on as a new one
MAX_REACH = 50  # items of a session between two that are still its neighbours
MAX_PAIRS = 20_000_000  # that are counted, about: of more actions, fewer of a session's next items are neighbours
REGULARISATION = 20.0  # sessions added to each item's: a few shared sessions are chance


def match_tables(log: EventLog, counted: Sequence[str], items: ItemTable | None = None) -> MatchTables:
    """Return the tables of a log, of actions named in ``counted``; items without any of these have empty lists.

    They are of ``items``, as if there were no others; of all items of the log if None.
    """
    keys = np.unique(log.item_keys) if items is None else np.sort(items.keys)
    rows, sessions = _in_sessions(log, keys, log.codes_of(counted))
    followed = _followed(rows, sessions, len(keys))
    rows, sessions = _once_each(rows, sessions)
    count = len(keys)
    held = np.bincount(rows, minlength=count)  # sessions of each item
    number = int(sessions[-1]) + 1 if len(sessions) else 0
    before, after, times = _counted(followed, count)
    totals = np.bincount(before, times, count)
    return MatchTables(
        keys=keys,
        followers=_heaviest(before, after, times, count, MAX_FOLLOWERS),
        neighbours=_neighbours(rows, sessions, held, count),
        sessions=_newest(rows, sessions, count, MAX_SESSIONS),
        members=Lists(starts_of(np.bincount(sessions, minlength=number)), rows.astype(np.int32)),
        totals=totals.astype(np.float32),
        rarities=np.log((number + 1) / np.maximum(held, 1)).astype(np.float32),
    )


def _in_sessions(log: EventLog, keys: Keys, codes: Ints) -> tuple[Ints, Ints]:
    """Return the item of each action of these codes and the number of its session, session by session as they began.

    Items are rows of ``keys``, sorted; actions on others are left out.
    """
    order = log.by_user.order
    found, known = KeySearch(keys).find(log.item_keys[order])
    kept = np.flatnonzero(np.isin(log.actions[order], codes) & known)
    users, times, rows = log.by_user.users[kept], log.times_ms[order[kept]], found[kept]
    begins = np.ones(len(kept), np.bool_)
    begins[1:] = (np.diff(users) != 0) | (np.diff(times) > SESSION_GAP_MS)
    numbers = _ranks(times[begins])[np.cumsum(begins) - 1]
    order = np.argsort(numbers, kind="stable")
    return rows[order], numbers[order]


def _followed(rows: Ints, sessions: Ints, count: int) -> Ints:
    """Return ``item * count + next`` of every two actions in a row on different items of a session."""
    steps = np.flatnonzero((np.diff(sessions) == 0) & (np.diff(rows) != 0))
    found: Ints = rows[steps] * count + rows[steps + 1]
    return found


def _once_each(rows: Ints, sessions: Ints) -> tuple[Ints, Ints]:
    """Return each item once a session, where it came first; sessions of too many items are cut."""
    firsts = np.sort(np.unique(sessions * (rows.max(initial=0) + 1) + rows, return_index=True)[1])
    return rows[firsts], _cut(sessions[firsts])


def _ranks(times: Ints) -> Ints:
    """Return the place of each session by time, from 0; of equal ones the first stays first."""
    ranks = np.empty(len(times), np.int64)
    ranks[np.argsort(times, kind="stable")] = np.arange(len(times))
    return ranks


def _cut(numbers: Ints) -> Ints:
    """Return new numbers of sessions, those of more than ``MAX_SESSION_ITEMS`` items cut into several."""
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    within = np.arange(len(numbers)) - np.repeat(starts, np.diff(np.append(starts, len(numbers))))
    begins: Bools = within % MAX_SESSION_ITEMS == 0
    return np.cumsum(begins) - 1


def _neighbours(rows: Ints, sessions: Ints, held: Ints, count: int) -> WeighedLists:
    """Return each item's neighbours: the items whose sessions are most nearly the same, by a regularised cosine."""
    reach = int(np.clip(MAX_PAIRS // max(1, 2 * len(rows)), 1, MAX_REACH))
    parts = []
    for block in counted_pairs(lambda: _pairs(rows, sessions, reach), count):
        regularised = held[block.items] + REGULARISATION, held[block.others] + REGULARISATION
        cosines = block.times / np.sqrt(regularised[0] * regularised[1])
        within = block.items - block.start
        parts.append(_heaviest(within, block.others, cosines, block.stop - block.start, MAX_NEIGHBOURS))
    return _joined(parts)


def _pairs(rows: Ints, sessions: Ints, reach: int) -> Iterator[tuple[Ints, Ints]]:
    """Yield (earlier, later) of every two items of a session, those of one distance up to ``reach`` after the other."""
    for step in range(1, reach + 1):
        same = np.flatnonzero(sessions[step:] == sessions[:-step])
        if not len(same):
            break
        yield rows[same], rows[same + step]


def _joined(parts: Sequence[WeighedLists]) -> WeighedLists:
    """Return the lists of all parts, one part's after the other's."""
    if not parts:
        return no_lists()
    lengths = np.concatenate([np.diff(part.starts) for part in parts])
    rows, weights = (np.concatenate([getattr(part, name) for part in parts]) for name in ("rows", "weights"))
    return WeighedLists(starts_of(lengths), rows, weights)


def _counted(pairs: Ints, count: int) -> tuple[Ints, Ints, Ints]:
    """Return the different pairs' parts, and how often each occurs."""
    cells, times = np.unique(pairs, return_counts=True)
    return cells // max(1, count), cells % max(1, count), times.astype(np.int64)


def _heaviest(left: Ints, right: Ints, weights: Ints | npt.NDArray[np.float64], count: int, limit: int) -> WeighedLists:
    """Return the heaviest of each left row's entries; both are sorted by row. Of equal ones the lower rows are kept."""
    starts = starts_of(np.bincount(left, minlength=count))
    kept = np.ones(len(left), np.bool_)
    for row in np.flatnonzero(np.diff(starts) > limit).tolist():  # a partition each: ordering all took 15 times as long
        start, end = starts[row], starts[row + 1]
        kept[start:end] = _largest(weights[start:end], limit)
    starts = starts_of(np.bincount(left[kept], minlength=count))
    return WeighedLists(starts, right[kept].astype(np.int32), weights[kept].astype(np.float32))


def _largest(weights: Ints | npt.NDArray[np.float64], limit: int) -> Bools:
    """Return which are the ``limit`` largest of more, ``(n,)``; of equal ones those that come first."""
    least = np.partition(weights, len(weights) - limit)[len(weights) - limit]
    largest: Bools = weights > least
    largest[np.flatnonzero(weights == least)[: limit - np.count_nonzero(largest)]] = True
    return largest


def _newest(rows: Ints, sessions: Ints, count: int, limit: int) -> Lists:
    """Return the newest sessions of each item, oldest first."""
    order = np.lexsort((sessions, rows))
    ends = starts_of(np.bincount(rows, minlength=count))[1:]
    kept = order[ends[rows[order]] - np.arange(len(rows)) <= limit]
    return Lists(starts_of(np.bincount(rows[kept], minlength=count)), sessions[kept].astype(np.int32))
