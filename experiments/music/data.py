"""30Music split by time and by user: training users, test users, their target items, and how fresh a vector is.

::

    training users   |---- plays ----|                        T0 = the log's last timestamp less 14 days
    test users       |-- history ----|-- 14 days of plays --|   never trained on; plays from T0 on are the targets
                                     T0

Each target is to be found with the user vector that there would have been just before it, had vectors been computed
once (at T0), daily (at midnight UTC), each session (after the session before) or in real time (after the play before).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rankstream.events.log import EventLog
from rankstream.events.open import LogOptions, open_log
from rankstream.events.registry import read_log
from rankstream.events.sequences import TIME_BITS, UserSequences
from rankstream.features.embeddings.memory import Ints, ItemTable
from rankstream.features.schema import Floats
from rankstream.models.users.time_features import DAY_MS

WINDOW_MS = 14 * DAY_MS
MAX_TARGETS = 10  # of a user, sampled at random: a user's recall needs no more, and each costs an encoding
FRESHNESS = ("once", "daily", "session", "realtime")
DIGITS = "0123456789a"  # hits of a user, 0 to 10


@dataclass(frozen=True)
class MusicSplit:
    """The log's parts."""

    trained: EventLog  # before T0, of the training users
    all_users: EventLog  # the whole log, with the test users' histories
    test_ids: npt.NDArray[np.int64]  # of the test users, sorted
    from_ms: int  # T0


def read_split(path: Path, users: int | None = None, share: float = 0.6, seed: int = 0) -> MusicSplit:
    """Split the log in ``path``; a random ``share`` of the users who play before and after T0 are test users.

    ``users`` takes a random so many of the log's users first, for a small run.
    """
    log = read_log(open_log(path, LogOptions(kind="30music")))
    rng = np.random.default_rng([seed, 30])
    if users is not None:
        kept = rng.permutation(np.unique(log.user_ids))[:users]
        log = log.rows(np.isin(log.user_ids, kept))
    from_ms = int(log.times_ms[-1]) - WINDOW_MS
    past, future = log.split_at(from_ms)
    both = np.intersect1d(past.user_ids, future.user_ids)
    test = np.sort(rng.permutation(both)[: int(share * len(both))])
    return MusicSplit(past.rows(~np.isin(past.user_ids, test)), log, test, from_ms)


@dataclass(frozen=True)
class TargetItems:
    """Items to find, by user, and the row as of which a vector of each freshness was computed."""

    users: Ints  # (n,) index of the test user, sorted
    items: Ints  # (n,) rows of the item table
    rows: dict[str, Ints]  # freshness -> (n,) row of the sequences

    @property
    def counts(self) -> Ints:
        """How many target items each user has."""
        return np.bincount(self.users)


def target_items(sequences: UserSequences, split: MusicSplit, seed: int = 0) -> TargetItems:
    """Return the target items in sequences of known items: the different items that a test user plays from T0 on.

    Users without a known play before T0 or after it are left out.
    """
    users = np.flatnonzero(np.isin(sequences.user_ids, split.test_ids))
    rng = np.random.default_rng([seed, 31])
    indices: list[Ints] = []
    plays: list[Ints] = []
    for user in users:
        start, end = sequences.starts[user], sequences.starts[user + 1]
        first = start + np.searchsorted(sequences.times_ms[start:end], split.from_ms)
        if first in (start, end):
            continue
        new = first + np.sort(np.unique(sequences.item_rows[first:end], return_index=True)[1])
        plays.append(np.sort(rng.permutation(new)[:MAX_TARGETS]))
        indices.append(np.full(len(plays[-1]), len(indices)))
    rows = np.concatenate(plays)
    times = sequences.times_ms[rows]
    as_of_ms = {"once": np.full(len(rows), split.from_ms), "daily": times - times % DAY_MS, "realtime": times}
    as_of_ms["daily"] = np.maximum(as_of_ms["daily"], split.from_ms)
    owners = sequences.users[rows] << TIME_BITS
    newest = {name: np.searchsorted(sequences.user_times, owners | at) - 1 for name, at in as_of_ms.items()}
    starts = sequences.session_starts()
    begins = starts[np.searchsorted(starts, rows, side="right") - 1]
    newest["session"] = np.maximum(begins - 1, newest["once"])  # a session open at T0 has no other one before it
    return TargetItems(np.concatenate(indices), sequences.item_rows[rows], {name: newest[name] for name in FRESHNESS})


def hits_of_scores(scores: Floats, targets: TargetItems, k: int = 10) -> npt.NDArray[np.bool_]:
    """Return whether fewer than ``k`` items score higher than each target, ``(n,)``; the user's other targets excluded.

    ``scores`` are ``(n, items)``, or ``(1, items)`` for the same ones always; of equal scores half count as higher.
    """
    scores = np.broadcast_to(scores, (len(targets.items), scores.shape[1]))
    of_target = scores[np.arange(len(targets.items)), targets.items][:, None]
    higher = (scores > of_target).sum(1) + ((scores == of_target).sum(1) - 1) / 2
    first = np.searchsorted(targets.users, targets.users)
    last = np.searchsorted(targets.users, targets.users, side="right")
    own = np.arange(MAX_TARGETS) + first[:, None]  # (n, 10)
    theirs = np.take_along_axis(scores, targets.items[np.minimum(own, len(targets.items) - 1)], axis=1)
    other = (own < last[:, None]) & (own != np.arange(len(own))[:, None])
    higher -= (other & (theirs > of_target)).sum(1) + (other & (theirs == of_target)).sum(1) / 2
    return np.asarray(higher < k)


def hits_of_vectors(vectors: Floats, items: Floats, targets: TargetItems, chunk: int = 1024) -> npt.NDArray[np.bool_]:
    """Return ``hits_of_scores`` of dot products of ``vectors (n, d)`` with ``items (items, d)``, some at a time."""
    found = []
    bounds = np.searchsorted(targets.users, np.arange(0, targets.users.max() + 1, max(1, chunk // MAX_TARGETS)))
    for start, end in zip(bounds, [*bounds[1:], len(targets.users)], strict=True):  # users stay whole
        part = TargetItems(targets.users[start:end], targets.items[start:end], {})
        found.append(hits_of_scores(vectors[start:end] @ items.T, part))
    return np.concatenate(found)


def spell(counts: npt.NDArray[np.integer]) -> str:
    """Write counts from 0 to 10 as a digit each, so that a result holds every user in one line."""
    return "".join(DIGITS[count] for count in counts)


def spelled(text: str) -> npt.NDArray[np.float64]:
    """Read what ``spell`` wrote."""
    return np.array([DIGITS.index(digit) for digit in text], np.float64)


def hits_by_user(found: npt.NDArray[np.bool_], targets: TargetItems) -> str:
    """Spell how many of its items each user finds."""
    return spell(np.bincount(targets.users, found).astype(np.int64))


def coverage(lists: Ints, num_items: int, share: float = 0.9) -> float:
    """Return the smallest share of the items that makes up this share of all positions in ``lists (n, 10)``."""
    counts = np.sort(np.bincount(lists.ravel(), minlength=num_items))[::-1]
    needed = 1 + int(np.searchsorted(np.cumsum(counts), share * counts.sum()))
    return needed / num_items


def baseline_hits(
    sequences: UserSequences, item_table: ItemTable, split: MusicSplit, targets: TargetItems
) -> dict[str, dict[str, str]]:
    """Return hits a user of the baselines without training, by row and freshness."""
    past = sequences.times_ms < split.from_ms
    recent = past & (sequences.times_ms >= split.from_ms - 28 * DAY_MS)
    always: dict[str, Sequence[bool] | npt.NDArray[np.bool_]] = {}
    for name, counted in (("popularity", past), ("popularity of 28 days", recent)):
        counts = np.bincount(sequences.item_rows[counted], minlength=len(item_table)).astype(np.float32)
        always[name] = hits_of_scores(counts[None], targets)
    rows = {name: dict.fromkeys(FRESHNESS, hits_by_user(np.asarray(hits), targets)) for name, hits in always.items()}
    rows["nearest to the last item"], rows["last 10 items"] = {}, {}
    for freshness in FRESHNESS:
        newest = targets.rows[freshness]
        nearest = hits_of_vectors(item_table.vectors[sequences.item_rows[newest]], item_table.vectors, targets)
        rows["nearest to the last item"][freshness] = hits_by_user(nearest, targets)
        found = [
            item in last_items(sequences, row, without=others_of(targets, n))
            for n, (item, row) in enumerate(zip(targets.items.tolist(), newest, strict=True))
        ]
        rows["last 10 items"][freshness] = hits_by_user(np.array(found), targets)
    return rows


def others_of(targets: TargetItems, n: int) -> set[int]:
    """Return the other targets of the ``n``-th one's user."""
    mine = targets.items[np.searchsorted(targets.users, targets.users[n]) :][: targets.counts[targets.users[n]]]
    return set(mine.tolist()) - {int(targets.items[n])}


def last_items(sequences: UserSequences, row: int, count: int = 10, without: Collection[int] = ()) -> set[int]:
    """Return the user's newest different items up to and with a row; those ``without`` take no position."""
    newest: dict[int, None] = {}
    start = sequences.starts[sequences.users[row]]
    for item in sequences.item_rows[start : row + 1][::-1].tolist():
        if item not in without:
            newest[item] = None
        if len(newest) == count:
            break
    return set(newest)
