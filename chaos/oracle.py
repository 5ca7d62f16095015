"""What must be kept of each user, found from the log alone, and how what was kept differs from it.

It imports nothing of what it judges: formats are read elsewhere, and the rules stand here once more, plainly.

- An action is its time, type and item. The same again is no other action; of its copies the greatest surface and value
  are kept.
- Of each user the newest actions are kept, so many. What there is no room for has left, and is counted by type.
- An action older than all of a full history changes nothing.
- An erasure (`forget`, without an item) forgets the user's actions of up to its time, and all that has left; actions of
  up to then that come later change nothing.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

MARK = b"poison"  # stands in the value of each record that must be refused

Identity = tuple[int, int, int]  # time in ms, code of the type, item
Rest = tuple[int, int]  # code of the surface, code of the value


@dataclass(frozen=True)
class Sent:
    """One record of the log of actions."""

    partition: int
    offset: int
    value: bytes


@dataclass(frozen=True)
class Kept:
    """What is kept of one user."""

    actions: tuple[tuple[Identity, Rest], ...]  # newest first
    total: int  # actions ever applied
    offset: int  # of the last one in the log, whether it changed anything or not
    departed: tuple[int, ...]  # of each type, the first type's first, how many have left
    forgotten_ms: int = 0  # time of the last erasure; 0 for none


@dataclass
class _User:
    held: dict[Identity, Rest] = field(default_factory=dict)
    total: int = 0
    offset: int = -1
    departed: list[int] = field(default_factory=list)
    forgotten_ms: int = 0

    def erase(self, at_ms: int) -> None:
        if at_ms > self.forgotten_ms:
            self.forgotten_ms = at_ms
            self.held = {identity: rest for identity, rest in self.held.items() if identity[0] > at_ms}
            self.total, self.departed = len(self.held), [0] * len(self.departed)

    def apply(self, identity: Identity, rest: Rest, limit: int) -> None:
        if identity[0] <= self.forgotten_ms:
            return
        if identity in self.held:
            self.held[identity] = max(self.held[identity], rest)
            return
        if len(self.held) == limit:
            oldest = min(self.held)
            if identity < oldest:
                return
            del self.held[oldest]
            self.departed[oldest[1] - 1] += 1
        self.held[identity] = rest
        self.total += 1

    def kept(self) -> Kept:
        newest_first = sorted(self.held.items(), reverse=True)
        return Kept(tuple(newest_first), self.total, self.offset, tuple(self.departed), self.forgotten_ms)


def expected_users(log: Iterable[Sent], types: Sequence[str], surfaces: Sequence[str], limit: int) -> dict[bytes, Kept]:
    """Return what must be kept of each user, by the user's key, after this log; of a partition in order of offset."""
    users: dict[bytes, _User] = {}
    for record in log:
        if MARK in record.value:
            continue
        event = json.loads(record.value)
        user = users.setdefault(event["user_id"].encode(), _User(departed=[0] * len(types)))
        user.offset = record.offset
        if event["action"] == "forget":
            user.erase(event["timestamp_ms"])
            continue
        identity = (event["timestamp_ms"], types.index(event["action"]) + 1, event["item_id"])
        user.apply(identity, (surfaces.index(event["surface"]) + 1, 0), limit)
    return {key: user.kept() for key, user in users.items()}


@dataclass(frozen=True)
class Differences:
    """How what was found differs from what must be."""

    lost: int = 0  # actions that are missing
    doubled: int = 0  # actions that count more than once
    wrong: int = 0  # users who differ in any other way
    users: tuple[bytes, ...] = ()  # some of those who differ


def compare(expected: Mapping[bytes, Kept], found: Mapping[bytes, Kept], examples: int = 5) -> Differences:
    """Return the differences over all users of both."""
    nobody = Kept((), 0, -1, ())
    lost = doubled = wrong = 0
    differing: list[bytes] = []
    for key in expected.keys() | found.keys():
        must, has = expected.get(key, nobody), found.get(key, nobody)
        if must == has:
            continue
        differing.append(key)
        missing, more = _lost(must, has), _doubled(must, has)
        lost, doubled = lost + missing, doubled + more
        wrong += not missing and not more
    return Differences(lost, doubled, wrong, tuple(sorted(differing)[:examples]))


def _lost(must: Kept, has: Kept) -> int:
    missing = {identity for identity, _ in must.actions} - {identity for identity, _ in has.actions}
    return max(len(missing), must.total - has.total, 0)


def _doubled(must: Kept, has: Kept) -> int:
    repeated = len(has.actions) - len({identity for identity, _ in has.actions})
    return max(repeated, has.total - must.total, 0)
