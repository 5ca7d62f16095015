"""What will happen in the demo, laid down before it happens: actions in their order, requests between them.

Every live action is produced. Before some positive ones the user asks for a feed of all that they have not met;
the feed is judged by where it put the item of that positive action.
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
    asks: tuple[Id, ...] = ()  # candidates of the request before the action; the action's item is one of them


def plan(log: EventLog, live_from: int, requests: int, seed: int) -> Iterator[Step]:
    """Go through the log from place ``live_from`` on, in order; ``requests`` steps ask, chosen by ``seed``."""
    names = log.vocabulary.actions
    positive = [names.index(name) + 1 for name in POSITIVE]
    users, items = log.user_ids.tolist(), log.item_ids.tolist()
    item_table = sorted(set(items))
    met: dict[Id, set[Id]] = {}
    for user, item in zip(users[:live_from], items[:live_from], strict=True):
        met.setdefault(user, set()).add(item)
    asking = _asking(log, live_from, positive, requests, seed)
    for at in range(live_from, len(users)):
        user, item = users[at], items[at]
        seen = met.setdefault(user, set())
        asks = tuple(one for one in item_table if one not in seen) if at in asking and item not in seen else ()
        yield Step(user, item, names[int(log.actions[at]) - 1], int(log.times_ms[at]), None, asks)
        seen.add(item)


def _asking(log: EventLog, live_from: int, positive: list[int], requests: int, seed: int) -> set[int]:
    """Draw the places of the log at which a user asks: positive live actions, each as likely as the other."""
    places = live_from + np.flatnonzero(np.isin(log.actions[live_from:], positive))
    drawn = np.random.default_rng(seed).choice(places, min(requests, len(places)), replace=False)
    return set(drawn.tolist())


def popularity(log: EventLog, live_from: int) -> dict[Id, int]:
    """Count the actions of each item before the live part."""
    ids, counts = np.unique(log.item_ids[:live_from], return_counts=True)
    return dict(zip(ids.tolist(), counts.tolist(), strict=True))


def events_of(log: EventLog) -> list[ActionEvent]:
    """Return the actions of a log as the wire has them."""
    names = (None, *log.vocabulary.actions)
    rows = zip(log.user_ids.tolist(), log.item_ids.tolist(), log.actions.tolist(), log.times_ms.tolist(), strict=True)
    return [ActionEvent(user, item, names[code] or "", at_ms) for user, item, code, at_ms in rows]
