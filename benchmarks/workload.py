"""The events that every streaming benchmark uses: many users of very different activity, small JSON actions."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rankstream.features.actions import Vocabulary

VOCABULARY = Vocabulary(("view", "click", "cart", "buy", "search"))
START_MS = 1_700_000_000_000


@dataclass(frozen=True)
class Event:
    """One Kafka record to be, about 82 bytes of JSON."""

    key: bytes
    value: bytes
    timestamp_ms: int


def events(count: int, users: int = 50_000, seed: int = 20240607) -> Iterator[Event]:
    """Draw events: users by Zipf's law, a million items, time that grows by 0 to 200 ms."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(users)
    heights = np.cumsum(1.0 / np.arange(1, users + 1))
    who = order[np.searchsorted(heights / heights[-1], rng.random(count))].tolist()
    items = rng.integers(1, 1_000_001, count).tolist()
    kinds = rng.integers(0, len(VOCABULARY.actions), count).tolist()
    times = (START_MS + np.cumsum(rng.integers(0, 201, count))).tolist()
    for user, item, kind, at_ms in zip(who, items, kinds, times, strict=True):
        message = {"user_id": f"u{user}", "item_id": item, "action": VOCABULARY.actions[kind], "timestamp_ms": at_ms}
        yield Event(f"u{user}".encode(), json.dumps(message, separators=(",", ":")).encode(), at_ms)
