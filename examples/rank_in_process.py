"""Rank in this process, without Kafka: the same Pipeline that workers run, handed its records directly.

    python examples/rank_in_process.py [BUNDLE]

Without a bundle there is no model: states are kept, and candidates come back in the order of the request.
"""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from rankstream.features.actions import Vocabulary
from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.ranking.serving import LiveRanker
from rankstream.streams.pipeline import Pipeline

NOW_MS = int(time.time() * 1000)


def record(topic: str, offset: int, value: dict) -> SimpleNamespace:
    """Return a record as Kafka would hand it on: keyed by the user, stamped with the time."""
    key, encoded = str(value["user_id"]).encode(), json.dumps(value).encode()
    return SimpleNamespace(topic=topic, partition=0, offset=offset, timestamp=NOW_MS, key=key, value=encoded)


bundle = Path(sys.argv[1]) if len(sys.argv) > 1 else None
serving = LiveRanker.open(bundle) if bundle else LiveRanker.without_bundle(Vocabulary(("view", "click", "save")))
pipeline = Pipeline(UserCache(MemoryStore()), serving)

save = {"user_id": 7, "item_id": 11, "action": "save", "timestamp_ms": NOW_MS - 1000}
dead_letters = pipeline.on_actions([record("user-actions", 0, save)])
request = {"request_id": "r1", "user_id": 7, "candidates": [10, 11, 12]}
(feed,) = pipeline.on_requests([record("ranking-requests", 0, request)]).answer()
print(json.dumps(json.loads(feed.value), indent=2))
print(f"{len(dead_letters)} dead letters")
