"""30Music cut by time and by user: who is trained on, who is asked, and when each asked play's vector was made.

::

    users trained on   |---- plays ----|                      T0 = the log's last moment less 14 days
    users asked        |-- history ----|-- 14 days of plays -|  never trained on; each new item of theirs is asked for
                                       T0

Asked for item by item, with the user vector as it would have been at that moment had it been made once (at T0), daily
(at midnight UTC), each session (after the session before) or in real time (after the play before).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rankstream.events.log import EventLog
from rankstream.events.open import open_log
from rankstream.events.registry import read_log
from rankstream.events.sequences import TIME_BITS, UserSequences
from rankstream.features.embeddings.memory import Ints, ItemTable
from rankstream.features.schema import Floats
from rankstream.models.users.time_features import DAY_MS

WINDOW_MS = 14 * DAY_MS
MAX_ASKED = 10  # items of a user, drawn at random: a user's recall needs no more, and each costs an encoding
FRESHNESS = ("once", "daily", "session", "realtime")
DIGITS = "0123456789a"  # hits of a user, 0 to 10


@dataclass(frozen=True)
class MusicSplit:
    """The log's parts."""

    trained: EventLog  # before T0, of the users trained on
    everybody: EventLog  # the whole log: users asked have their histories in it
    asked_ids: npt.NDArray[np.int64]  # of users, sorted
    from_ms: int  # T0


def read_split(path: Path, users: int | None = None, share: float = 0.6, seed: int = 0) -> MusicSplit:
    """Cut the log in ``path``; of the users who play before and after T0 a random ``share`` is asked, not trained on.

    ``users`` takes a random so many of the log's users first, for a small run.
    """
    log = read_log(open_log(path, kind="30music"))
    rng = np.random.default_rng([seed, 30])
    if users is not None:
        kept = rng.permutation(np.unique(log.user_ids))[:users]
        log = log.rows(np.isin(log.user_ids, kept))
    from_ms = int(log.times_ms[-1]) - WINDOW_MS
    past, future = log.split_at(from_ms)
    both = np.intersect1d(past.user_ids, future.user_ids)
    asked = np.sort(rng.permutation(both)[: int(share * len(both))])
    return MusicSplit(past.rows(~np.isin(past.user_ids, asked)), log, asked, from_ms)


@dataclass(frozen=True)
class Asked:
    """Items to find, by user: n items of some users, and where in the timelines a vector of each freshness stands."""

    users: Ints  # (n,) place among the users asked, sorted
    items: Ints  # (n,) catalogue rows
    rows: dict[str, Ints]  # freshness -> (n,) row of the timelines

    @property
    def counts(self) -> Ints:
        """How many items each user is asked for."""
        return np.bincount(self.users)


def asked_items(sequences: UserSequences, split: MusicSplit, seed: int = 0) -> Asked:
    """Return what is asked of timelines of known items: a user's different items played from T0 on.

    Users without a known play before T0 or after it are left out.
    """
    users = np.flatnonzero(np.isin(sequences.user_ids, split.asked_ids))
    rng = np.random.default_rng([seed, 31])
    places: list[Ints] = []
    plays: list[Ints] = []
    for user in users:
        start, end = sequences.starts[user], sequences.starts[user + 1]
        first = start + np.searchsorted(sequences.times_ms[start:end], split.from_ms)
        if first in (start, end):
            continue
        new = first + np.sort(np.unique(sequences.item_rows[first:end], return_index=True)[1])
        plays.append(np.sort(rng.permutation(new)[:MAX_ASKED]))
        places.append(np.full(len(plays[-1]), len(places)))
    rows = np.concatenate(plays)
    times = sequences.times_ms[rows]
    moments = {"once": np.full(len(rows), split.from_ms), "daily": times - times % DAY_MS, "realtime": times}
    moments["daily"] = np.maximum(moments["daily"], split.from_ms)
    owners = sequences.users[rows] << TIME_BITS
    newest = {name: np.searchsorted(sequences.user_times, owners | at) - 1 for name, at in moments.items()}
    starts = sequences.session_starts()
    begins = starts[np.searchsorted(starts, rows, side="right") - 1]
    newest["session"] = np.maximum(begins - 1, newest["once"])  # a session open at T0 has no other one before it
    return Asked(np.concatenate(places), sequences.item_rows[rows], {name: newest[name] for name in FRESHNESS})


def hits_of_scores(scores: Floats, asked: Asked, k: int = 10) -> npt.NDArray[np.bool_]:
    """Say of each asked item whether fewer than ``k`` others score higher, ``(n,)``; the user's other ones don't count.

    ``scores`` are ``(n, items)``, or ``(1, items)`` for the same ones always; of equal scores half count as higher.
    """
    scores = np.broadcast_to(scores, (len(asked.items), scores.shape[1]))
    right = scores[np.arange(len(asked.items)), asked.items][:, None]
    higher = (scores > right).sum(1) + ((scores == right).sum(1) - 1) / 2
    first = np.searchsorted(asked.users, asked.users)
    last = np.searchsorted(asked.users, asked.users, side="right")
    own = np.arange(MAX_ASKED) + first[:, None]  # (n, 10)
    theirs = np.take_along_axis(scores, asked.items[np.minimum(own, len(asked.items) - 1)], axis=1)
    other = (own < last[:, None]) & (own != np.arange(len(own))[:, None])
    higher -= (other & (theirs > right)).sum(1) + (other & (theirs == right)).sum(1) / 2
    return np.asarray(higher < k)


def hits_of_vectors(vectors: Floats, items: Floats, asked: Asked, chunk: int = 1024) -> npt.NDArray[np.bool_]:
    """Return ``hits_of_scores`` of dot products of ``vectors (n, d)`` with ``items (items, d)``, a part at a time."""
    found = []
    bounds = np.searchsorted(asked.users, np.arange(0, asked.users.max() + 1, max(1, chunk // MAX_ASKED)))
    for start, end in zip(bounds, [*bounds[1:], len(asked.users)], strict=True):  # users stay whole
        part = Asked(asked.users[start:end], asked.items[start:end], {})
        found.append(hits_of_scores(vectors[start:end] @ items.T, part))
    return np.concatenate(found)


def spell(counts: npt.NDArray[np.integer]) -> str:
    """Write counts from 0 to 10 as a digit each, so that a result keeps every user in one line."""
    return "".join(DIGITS[count] for count in counts)


def spelled(text: str) -> npt.NDArray[np.float64]:
    """Read what ``spell`` wrote."""
    return np.array([DIGITS.index(digit) for digit in text], np.float64)


def hits_by_user(found: npt.NDArray[np.bool_], asked: Asked) -> str:
    """Spell how many of its items each user finds."""
    return spell(np.bincount(asked.users, found).astype(np.int64))


def coverage(lists: Ints, num_items: int, share: float = 0.9) -> float:
    """Return the smallest share of the catalogue that makes up this share of all places in ``lists (n, 10)``."""
    counts = np.sort(np.bincount(lists.ravel(), minlength=num_items))[::-1]
    needed = 1 + int(np.searchsorted(np.cumsum(counts), share * counts.sum()))
    return needed / num_items


def baseline_hits(
    sequences: UserSequences, item_table: ItemTable, split: MusicSplit, asked: Asked
) -> dict[str, dict[str, str]]:
    """Return hits a user of what needs no training, by row and freshness."""
    past = sequences.times_ms < split.from_ms
    lately = past & (sequences.times_ms >= split.from_ms - 28 * DAY_MS)
    always: dict[str, Sequence[bool] | npt.NDArray[np.bool_]] = {}
    for name, counted in (("popularity", past), ("popularity of 28 days", lately)):
        counts = np.bincount(sequences.item_rows[counted], minlength=len(item_table)).astype(np.float32)
        always[name] = hits_of_scores(counts[None], asked)
    rows = {name: dict.fromkeys(FRESHNESS, hits_by_user(np.asarray(hits), asked)) for name, hits in always.items()}
    rows["nearest to the last item"], rows["last 10 items"] = {}, {}
    for freshness in FRESHNESS:
        newest = asked.rows[freshness]
        nearest = hits_of_vectors(item_table.vectors[sequences.item_rows[newest]], item_table.vectors, asked)
        rows["nearest to the last item"][freshness] = hits_by_user(nearest, asked)
        held = [
            item in last_items(sequences, row, without=others_of(asked, n))
            for n, (item, row) in enumerate(zip(asked.items.tolist(), newest, strict=True))
        ]
        rows["last 10 items"][freshness] = hits_by_user(np.array(held), asked)
    return rows


def others_of(asked: Asked, n: int) -> set[int]:
    """Return the other items that the user of the ``n``-th one is asked for."""
    mine = asked.items[np.searchsorted(asked.users, asked.users[n]) :][: asked.counts[asked.users[n]]]
    return set(mine.tolist()) - {int(asked.items[n])}


def last_items(sequences: UserSequences, row: int, count: int = 10, without: Collection[int] = ()) -> set[int]:
    """Return the user's newest different items up to and with a row; those ``without`` take no place."""
    newest: dict[int, None] = {}
    start = sequences.starts[sequences.users[row]]
    for item in sequences.item_rows[start : row + 1][::-1].tolist():
        if item not in without:
            newest[item] = None
        if len(newest) == count:
            break
    return set(newest)
