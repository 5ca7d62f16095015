"""A log of Kafka records: a topic from offset to offset, read again at each pass."""

import hashlib
from collections.abc import Callable, Iterator
from itertools import islice

from rankstream.events.action_event import Record
from rankstream.events.arrivals import Arrivals, arrivals_of
from rankstream.events.skipped import Skipped
from rankstream.features.actions import Vocabulary

BATCH_RECORDS = 8_192


class RecordLog:
    """Records of user-actions as a recorded log; offsets are renumbered, as those of partitions overlap."""

    def __init__(self, name: str, vocabulary: Vocabulary, read: Callable[[], Iterator[Record]]) -> None:
        self.name, self.vocabulary, self._read = name, vocabulary, read
        self.skipped = Skipped()
        self._digest = hashlib.sha256()

    def checksum(self) -> str:
        """Return the sha256 of the keys and values that were read last."""
        return self._digest.hexdigest()

    def batches(self, vocabulary: Vocabulary, erasures: bool = False) -> Iterator[Arrivals]:
        """Read from the start, decoding as a worker does; erasures are rows too where they are asked for."""
        self.skipped.clear()
        self._digest, records, count = hashlib.sha256(), self._read(), 0
        while batch := list(islice(records, BATCH_RECORDS)):
            for record in batch:
                self._digest.update(record.key or b"")
                self._digest.update(record.value or b"")
            arrivals = arrivals_of(batch, vocabulary, self.skipped)
            arrivals = arrivals if erasures else arrivals.without_erasures()
            if len(arrivals):
                yield arrivals.numbered(count)
            count += len(arrivals)
