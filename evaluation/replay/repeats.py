"""Whether a log's users act on the same items again: where hardly any does, what they have seen is no candidate.

Training draws no such item there, and retrieval proposes none by default, so to rank them is to ask for what nobody
serves. Told from the log as training tells it (``events.registry.repeats_items``), by its first rows.
"""

from collections.abc import Iterable

from rankstream.events.arrivals import Arrivals
from rankstream.events.log_kind import REPEATED_OFTEN

FIRST_ROWS = 300_000


def repeats_items(batches: Iterable[Arrivals], first: int = FIRST_ROWS) -> bool:
    """Return whether more than ``REPEATED_OFTEN`` of the first actions are on an item that the user acted on before."""
    latest_ms: dict[tuple[bytes, int], int] = {}  # of each user and item
    done = again = 0
    for arrivals in batches:
        columns = arrivals.user_keys, arrivals.item_keys.tolist(), arrivals.times_ms.tolist()
        for user_key, item_key, at_ms in zip(*columns, strict=True):
            before_ms = latest_ms.get((user_key, item_key))
            latest_ms[user_key, item_key] = at_ms
            done += before_ms != at_ms  # what was done at one time is one step
            again += before_ms is not None and before_ms != at_ms
        if done >= first:
            break
    return again > REPEATED_OFTEN * max(1, done)
