"""Boards of what a log held before a cut, and questions of what came after it: what a user wanted next.

A board is a session, and an edge each action of it; a question is a positive after the cut on an item that its user had
not seen, asked just before it with the user's newest different positives, as ``retrieval/sources/random_walk.py`` does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rankstream.events.log import EventLog
from rankstream.experiments.feed.task import Task
from rankstream.features.ids import Keys
from rankstream.features.sessions import SESSION_GAP_MS
from rankstream.graph.memberships import Memberships
from rankstream.metrics.arrays import Bools, Floats, Ints
from rankstream.retrieval.sources.random_walk import MAX_QUERIES


@dataclass(frozen=True)
class SessionEdges:
    """Every positive of a log before a cut, oldest first: which item, of which session, when, by which action."""

    sessions: Keys
    items: Keys
    times_ms: Ints
    actions: Ints

    @classmethod
    def of(cls, log: EventLog, positive: Bools) -> "SessionEdges":
        """Return those of a log."""
        order = log.by_user.order
        kept = np.flatnonzero(positive[order])
        rows, users = order[kept], log.by_user.users[kept]
        times = log.times_ms[rows]
        begins = np.ones(len(rows), np.bool_)
        begins[1:] = (np.diff(users) != 0) | (np.diff(times) > SESSION_GAP_MS)
        sessions = np.cumsum(begins).astype(np.uint64)
        by_time = np.argsort(times, kind="stable")
        return cls(sessions[by_time], log.item_keys[rows][by_time], times[by_time], log.actions[rows][by_time])

    def weighed(self, weights: Floats | None) -> Memberships:
        """Return them as memberships, an edge each."""
        return Memberships(self.sessions, self.items, weights)


@dataclass(frozen=True)
class Question:
    """What was known of a user, and what the user then wanted."""

    user: int
    newest: Keys  # different items of positives, newest first, at most ``MAX_QUERIES``
    seen: Keys
    wanted: int  # the item's key


@dataclass(frozen=True)
class Asked:
    """The questions of a log."""

    task: Task

    @cached_property
    def _firsts(self) -> Ints:
        """Return where, in the order by user, a user first meets an item, and it is a positive after the cut."""
        log, order = self.task.log, self.task.log.by_user.order
        _, items = np.unique(log.item_keys[order], return_inverse=True)
        cells = log.by_user.users * (int(items.max(initial=0)) + 1) + items
        firsts = np.unique(cells, return_index=True)[1]
        known = np.isin(log.item_keys[order[firsts]], self.task.past.item_keys[self._past_positive])
        late = log.times_ms[order[firsts]] >= self.task.cut_ms
        found: Ints = np.sort(firsts[known & late & self.task.is_positive[order[firsts]]])
        return found

    @cached_property
    def _past_positive(self) -> Bools:
        return self.task.is_positive[: len(self.task.past)]

    @property
    def edges(self) -> SessionEdges:
        """Return the edges of before the cut."""
        return SessionEdges.of(self.task.past, self._past_positive)

    def questions(self, count: int, seed: int) -> Iterator[Question]:
        """Yield up to so many questions, drawn at random; of users without an earlier positive there are none."""
        for at in np.random.default_rng(seed).permutation(self._firsts)[:count].tolist():
            question = self._question(at)
            if len(question.newest):
                yield question

    def _question(self, at: int) -> Question:
        log, grouped = self.task.log, self.task.log.by_user
        user, target = int(grouped.users[at]), int(grouped.order[at])
        rows = grouped.order[grouped.starts[user] : at]
        rows = rows[log.times_ms[rows] < log.times_ms[target]]
        liked = log.item_keys[rows[self.task.is_positive[rows]]][::-1]
        different, firsts = np.unique(liked, return_index=True)
        newest = different[np.argsort(firsts)][:MAX_QUERIES]
        return Question(user, newest, np.unique(log.item_keys[rows]), int(log.item_keys[target]))
