"""A partition that is open, without a broker."""

from types import SimpleNamespace

from faust.types import TP

from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.streams.pipeline import Pipeline
from rankstream.streams.settings import Settings
from rankstream.streams.topics import TopicNames
from rankstream.streams.worker.checkpoint import Cursor, Partition
from rankstream.streams.worker.limits import Limits
from rankstream.streams.worker.outbox import Outbox
from tests.builders.actions import SomeLiveRanker


def a_partition(number: int = 0, actions: int = 0, requests: int = 0) -> Partition:
    """A partition of users in memory; what it sends goes nowhere."""
    pipeline = Pipeline(UserCache(MemoryStore()), SomeLiveRanker())
    cursors = Cursor(TP("user-actions", number), actions), Cursor(TP("ranking-requests", number), requests)
    outbox = Outbox(SimpleNamespace(), TopicNames(), number, Limits(Settings()))
    return Partition(number, pipeline, outbox, *cursors, log_changes=False)
