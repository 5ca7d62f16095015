"""The baselines' scores for the queries of a held-out part of a log, each by what happened before it.

::

    log      a b | c d e f        queries  before d: by a, b, c      before f: by a, b, c, d, e

The item table's rows are the baselines' rows; items without a vector come after them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankstream.evaluation.baselines.base import HISTORY_ITEMS, ItemRows, UserItems
from rankstream.evaluation.baselines.panel import ALL_ACTIONS, Asked, Baselines
from rankstream.evaluation.baselines.steps import Counted
from rankstream.events.arrivals import Arrivals, pack_columns
from rankstream.events.log import EventLog
from rankstream.features.ids import Id, Keys, id_bytes
from rankstream.metrics.arrays import Ints


@dataclass(frozen=True)
class Moment:
    """One query: what happened before ``before_ms`` is known, and the user's own items where they are given."""

    user_id: Id
    before_ms: int
    own_items: Ints | None = None  # rows of the user's items, newest first; None: those of before ``before_ms``
    in_session: int = 0  # so many of ``own_items`` are of the open session


@dataclass(frozen=True)
class HeldOutScores:
    """What the baselines answered, in the order of the moments."""

    asked: tuple[Asked, ...]
    left_out: frozenset[str]  # baselines that mean nothing on this log
    items: ItemRows  # rows of the scores: the item table's, then those of the log's other items

    def names(self) -> list[str]:
        """Return the names of the baselines."""
        return [name for name in self.asked[0].scores if name not in self.left_out]


def numbered(keys: Keys, item_keys: Keys) -> Ints:
    """Return the row of each item ``(n,)`` in a table of ``item_keys``; other items are numbered after its end."""
    order = np.argsort(item_keys)
    at = np.minimum(np.searchsorted(item_keys[order], keys), len(order) - 1)
    known = item_keys[order][at] == keys
    rows = np.where(known, order[at], -1)
    rows[~known] = len(item_keys) + np.unique(keys[~known], return_inverse=True)[1]
    return rows


def scores_at(
    log: EventLog, moments: Sequence[Moment], item_keys: Keys, positives: int, impressions: bool
) -> HeldOutScores:
    """Return the scores of each baseline at each moment; of ``impressions``, only positives are acts of users."""
    baselines = Baselines(Counted(positives, positives if impressions else ALL_ACTIONS))
    extra = np.setdiff1d(log.item_keys, item_keys)
    for key in (*item_keys.tolist(), *extra.tolist()):
        baselines.items.row(key)
    arrivals = _arrivals_of(log)
    asked: list[Asked] = [Asked()] * len(moments)
    fed = 0
    for number in sorted(range(len(moments)), key=lambda number: moments[number].before_ms):
        moment = moments[number]
        until = int(np.searchsorted(log.times_ms, moment.before_ms))
        baselines.feed(arrivals.rows(slice(fed, until)))
        fed = until
        asked[number] = _ask(baselines, moment)
    baselines.feed(arrivals.rows(slice(fed, None)))
    return HeldOutScores(tuple(asked), frozenset(baselines.left_out()), baselines.items)


def _ask(baselines: Baselines, moment: Moment) -> Asked:
    key = id_bytes(moment.user_id)
    asked = baselines.ask(key, moment.before_ms, moment.before_ms)
    if moment.own_items is None:
        return asked
    session = baselines.steps.user(key, moment.before_ms).session
    rows = moment.own_items[:HISTORY_ITEMS].tolist()
    return baselines.ask_about(UserItems(rows, min(moment.in_session, len(rows)), True, session), moment.before_ms)


def _arrivals_of(log: EventLog) -> Arrivals:
    values = np.full(len(log), np.nan)
    return pack_columns(
        log.user_ids.tolist(), log.item_ids.tolist(), log.actions, log.times_ms, log.surface_codes, values,
        item_keys=log.item_keys,
    )  # fmt: skip
