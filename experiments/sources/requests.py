"""The requests that all arms answer: just before a user's first action on an item that is wanted, after the cut.

::

    actions of a user   a b b c | d(view)  b(save)  e(save)        wanted: e; b was there before, d is no positive

States are made of the user's own actions alone, as a worker would have them, so requests may come in any order.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rankstream.events.log import EventLog
from rankstream.experiments.feed.task import Task
from rankstream.features.actions import pack_action
from rankstream.features.ids import Id, Keys
from rankstream.features.join import OfflineFeatures, fold_ended
from rankstream.features.schema import Ints
from rankstream.features.user_state import UNKNOWN_USER, UserState
from rankstream.metrics.arrays import Bools
from rankstream.retrieval.scope import Scope, seed_of


@dataclass(frozen=True)
class Request:
    """One request."""

    user_id: Id
    at_ms: int
    wanted: int  # key of the item
    past: Ints  # rows of the log: what the user had done, oldest first


def requests_of(task: Task, count: int, seed: int) -> Iterator[Request]:
    """Yield up to ``count`` requests, a uniform sample in a random order."""
    log = task.log
    rows = np.random.default_rng(seed).permutation(wanted_rows(log, task.is_positive, task.cut_ms))[:count]
    users, which = np.unique(log.user_ids, return_inverse=True)
    order = np.argsort(which, kind="stable")
    starts = np.searchsorted(which[order], np.arange(len(users) + 1))
    for row in rows.tolist():
        at_ms, user = int(log.times_ms[row]), which[row]
        past = order[starts[user] : starts[user + 1]]
        past = past[log.times_ms[past] < at_ms]
        past = past[np.argsort(log.times_ms[past], kind="stable")]
        yield Request(log.user_ids[row : row + 1].tolist()[0], at_ms, int(log.item_keys[row]), past)


def wanted_rows(log: EventLog, is_positive: Bools, cut_ms: int) -> Ints:
    """Return the rows after the cut that are positive, on an item of before it, and the user's first on that item."""
    _, users = np.unique(log.user_ids, return_inverse=True)
    order = np.lexsort((log.times_ms, log.item_keys, users))
    users, keys, times = users[order], log.item_keys[order], log.times_ms
    starts = np.ones(len(order), np.bool_)
    starts[1:] = (users[1:] != users[:-1]) | (keys[1:] != keys[:-1])
    first_ms = np.empty(len(order), np.int64)
    first_ms[order] = times[order[starts]][np.cumsum(starts) - 1]
    known = np.isin(log.item_keys, np.unique(log.item_keys[times < cut_ms]))
    return np.flatnonzero((times >= cut_ms) & is_positive & (times == first_ms) & known)


def state_of(log: EventLog, request: Request, offline: OfflineFeatures) -> UserState:
    """Return what a worker knows of the user just before the request."""
    past = request.past
    if not len(past):
        return UNKNOWN_USER
    times, codes, keys, surfaces = (
        column[past].tolist() for column in (log.times_ms, log.actions, log.item_keys, log.surface_codes)
    )
    packed = [
        pack_action(at_ms, code, key, surface, 0)
        for at_ms, code, key, surface in zip(times, codes, keys, surfaces, strict=True)
    ]
    applied = UNKNOWN_USER.apply(packed, len(packed) - 1)
    return fold_ended({b"user": applied}, offline)[b"user"]


def scope_at(request: Request, excluded: Keys) -> Scope:
    """Return the scope of a request, which is named by its time."""
    return Scope(excluded, seed=seed_of(request.user_id, request.at_ms))


def seen(log: EventLog, request: Request) -> Keys:
    """Return the items that the user had acted on."""
    keys: Keys = np.unique(log.item_keys[request.past])
    return keys
