"""Which feed an action is owed to: the newest one that showed the item to its user before it."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from rankstream.events.arrivals import Arrivals
from rankstream.features.ids import Keys
from rankstream.metrics.arrays import Floats


class ShownFeed(Protocol):
    """The positions of one feed that the user saw."""

    @property
    def user(self) -> bytes:
        """Return whom it was shown to, as records are keyed."""
        ...

    @property
    def at_ms(self) -> int:
        """Return when it was ranked, UTC."""
        ...

    @property
    def items(self) -> Keys:
        """Return the items, ``(k,)``, from the first position on."""
        ...

    @property
    def content(self) -> bytes:
        """Return what tells it from another feed of its user and time."""
        ...


def rewards_of(
    feeds: Sequence[ShownFeed],
    actions: Iterable[Arrivals],
    reward_of_code: Mapping[int, float],
    positions: int,
    within_ms: int,
) -> Floats:
    """Return ``(n, K)``: for each position the sum of ``reward_of_code`` over the kinds of actions on the item there.

    An action counts for the newest feed that showed the item to its user before it, if that was at most
    ``within_ms`` earlier; the same kind again at the same position counts once. Feeds of one time are told apart by
    what they showed, not by the order of their records.
    """
    rewards = np.zeros((len(feeds), positions))
    shown: dict[tuple[bytes, int], list[tuple[int, int, int]]] = {}  # time, feed, position; in the order of time
    for row in sorted(range(len(feeds)), key=lambda row: (feeds[row].at_ms, feeds[row].content)):
        for position, item in enumerate(feeds[row].items.tolist()):
            shown.setdefault((feeds[row].user, item), []).append((feeds[row].at_ms, row, position))
    counted: set[tuple[int, int, int]] = set()
    codes = np.array(list(reward_of_code), np.int64)
    for batch in actions:
        for at in np.flatnonzero(np.isin(batch.codes, codes)).tolist():
            times = shown.get((batch.user_keys[at], int(batch.item_keys[at])))
            if times is None:
                continue
            at_ms, code = int(batch.times_ms[at]), int(batch.codes[at])
            newest = bisect_right(times, at_ms, key=lambda one: one[0]) - 1
            if newest < 0 or at_ms - times[newest][0] > within_ms:
                continue
            _, row, position = times[newest]
            if (row, position, code) not in counted:
                counted.add((row, position, code))
                rewards[row, position] += reward_of_code[code]
    return rewards
