"""The plan of the demo's traffic, made before it is sent: actions in their order, requests between them.

Every live action is produced. Before some positive ones the user asks for a feed of all items not seen yet; the feed is
scored by the rank of the item of that positive action.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rankstream.events.action_event import ActionEvent
from rankstream.events.log import EventLog
from rankstream.features.ids import Id

POSITIVE = ("save", "click")


@dataclass(frozen=True)
class Step:
    """One action, and the request that its user sends just before it, if any."""

    user_id: Id
    item_id: Id
    action: str
    timestamp_ms: int
    surface: str | None
    candidates: tuple[Id, ...] = ()  # of the request before the action; the action's item is one of them


def plan(log: EventLog, live_from: int, requests: int, seed: int) -> Iterator[Step]:
    """Yield the log's steps from row ``live_from`` on; ``requests`` of them, sampled with ``seed``, have a request."""
    names = log.vocabulary.actions
    positive = [names.index(name) + 1 for name in POSITIVE]
    users, items = log.user_ids.tolist(), log.item_ids.tolist()
    item_table = sorted(set(items))
    seen_items: dict[Id, set[Id]] = {}
    for user, item in zip(users[:live_from], items[:live_from], strict=True):
        seen_items.setdefault(user, set()).add(item)
    requesting = _requesting_rows(log, live_from, positive, requests, seed)
    for at in range(live_from, len(users)):
        user, item = users[at], items[at]
        seen = seen_items.setdefault(user, set())
        candidates = (
            tuple(one for one in item_table if one not in seen) if at in requesting and item not in seen else ()
        )
        yield Step(user, item, names[int(log.actions[at]) - 1], int(log.times_ms[at]), None, candidates)
        seen.add(item)


def _requesting_rows(log: EventLog, live_from: int, positive: list[int], requests: int, seed: int) -> set[int]:
    """Sample the rows of the log before which a request is sent: positive live actions, uniformly."""
    rows = live_from + np.flatnonzero(np.isin(log.actions[live_from:], positive))
    sampled = np.random.default_rng(seed).choice(rows, min(requests, len(rows)), replace=False)
    return set(sampled.tolist())


def events_of(log: EventLog) -> list[ActionEvent]:
    """Return the actions of a log as the wire has them."""
    names = (None, *log.vocabulary.actions)
    rows = zip(log.user_ids.tolist(), log.item_ids.tolist(), log.actions.tolist(), log.times_ms.tolist(), strict=True)
    return [ActionEvent(user, item, names[code] or "", at_ms) for user, item, code, at_ms in rows]
