"""How large a record each topic takes that a worker writes to, as the brokers told last.

A batch is refused as a whole where it is larger than the topic's ``max.message.bytes``, so the producer makes none that
is, and an output that would be is shortened before it is sent (``streams/shortened.py``). Limits are read again now and
then, and at once when the brokers refuse what they took before.
"""

import asyncio
import logging
from time import monotonic

from aiokafka.errors import KafkaError

from rankstream.streams.settings import Settings
from rankstream.streams.topics import MAX_BYTES, TopicNames, limits_of, wanted_topics

log = logging.getLogger(__name__)

REQUEST_BYTES = 8 << 20  # the producer's own limit
BATCH_BYTES = 1 << 20
AT_MOST_EVERY_S = 1.0
ANSWER_S = 10.0


class Limits:
    """The largest record that each topic takes, in bytes; the producer's own limit where brokers do not tell."""

    def __init__(self, settings: Settings) -> None:
        names = TopicNames(settings.topic_prefix)
        self._settings = settings
        self._written = {names.of(topic): topic for topic in wanted_topics(settings) if topic.written_by_workers}
        self._bytes: dict[str, int] = {}
        self._read_at: float | None = None
        self._reading = asyncio.Lock()
        self._told: set[str] = set()

    def of(self, topic: str) -> int:
        """Return the largest record that a topic takes, in bytes."""
        return min(REQUEST_BYTES, self._bytes.get(topic, REQUEST_BYTES))

    @property
    def batch_bytes(self) -> int:
        """Return the largest batch that all topics take."""
        return min([BATCH_BYTES, *self._bytes.values()])

    async def read(self) -> None:
        """Ask the brokers, but not twice within a second; what they do not tell stays as it was."""
        async with self._reading:
            if self._read_at is not None and monotonic() - self._read_at < AT_MOST_EVERY_S:
                return
            try:
                async with asyncio.timeout(ANSWER_S):
                    self._bytes |= await limits_of(self._settings, self._written)
            except (KafkaError, OSError, TimeoutError) as exc:
                log.warning("the brokers do not tell how large a record topics take: %r", exc)
            self._read_at = monotonic()

    def report(self) -> None:
        """Say of which topics the limit is lower than that of topics made by ``rankstream topics create``."""
        for name, topic in self._written.items():
            if not topic.compacted and self.of(name) < MAX_BYTES:
                log.warning(
                    "the topic %s takes records of up to %d bytes; a larger feed becomes an error, a larger dead "
                    "letter is cut: raise its max.message.bytes to %d",
                    name,
                    self.of(name),
                    MAX_BYTES,
                )

    def tell_once(self, topic: str) -> bool:
        """Return whether it was not told yet that something was too large for this topic."""
        is_new = topic not in self._told
        self._told.add(topic)
        return is_new
