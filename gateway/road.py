"""The seam between HTTP and what stands behind it: Kafka (``kafka_road.py``) or one process (``worker_road.py``)."""

from collections.abc import Callable, Sequence
from typing import Protocol

from rankstream.gateway.answers import RefusedError, RejectedItem
from rankstream.gateway.intake import Keyed
from rankstream.streams.counters import Counters
from rankstream.streams.topics import Topic
from rankstream.streams.tracing import UNTRACED_CALL, CallTrace

OnFeed = Callable[[bytes], None]


class Road(Protocol):
    """Takes records to workers, and brings their feeds."""

    async def open(self, on_feed: OnFeed) -> None:
        """Begin; each feed from then on is handed to ``on_feed``, in the event loop's thread."""
        ...

    async def close(self) -> None:
        """End, with what was taken sent."""
        ...

    def why_lacks(self, topic: Topic) -> str | None:
        """Return why no records of this topic can be sent, and what to do; None where they can."""
        ...

    async def send(
        self, topic: Topic, records: Sequence[Keyed], trace: CallTrace = UNTRACED_CALL
    ) -> Sequence[RejectedItem]:
        """Return when the records are safe, with those that were not taken where that is known already.

        Raises ``RefusedError``, with 503 where nobody takes them.
        """
        ...

    def why_not(self) -> str | None:
        """Return what is wrong, in a sentence; None where all is well."""
        ...

    def counters(self) -> Counters | None:
        """Return what was counted of actions and requests here; None where workers do that."""
        ...


def no_broker(why: str) -> RefusedError:
    """Return the refusal of what can't be sent."""
    return RefusedError(503, "no-broker", why, retry_after_s=1)
