"""Whether a topic is still the one that was read, for who reads on where a position of its own ends.

An offset is no identity: a topic may be created anew, lose its newest records, and grow past the position again. What
a worker compares of its topics (``worker/source.py``, ``worker/truncation.py``) is compared here, too: at the start,
and before a record counts that may stand behind a cut. That is one of a later leader, one before the position, as where
a consumer went back by itself, and one that came after a silence: a broker whose disk is set back is away meanwhile.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from aiokafka.errors import KafkaError
from faust.types import TP

from rankstream.content.files import LastRead
from rankstream.events.action_event import NO_EPOCH, Record, epoch_of
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.settings import Settings
from rankstream.streams.worker.offsets import bounds_of
from rankstream.streams.worker.source import Source, source_of
from rankstream.streams.worker.truncation import replaced_records

SILENCE_S = 0.5  # a broker takes longer to be started again


class FollowedTopic:
    """Compares a topic with what was read of it."""

    def __init__(
        self,
        settings: Settings,
        topic: str,
        topic_id: str | None,
        clock: Callable[[], float] = time.monotonic,
        silence_s: float = SILENCE_S,
    ) -> None:
        """``topic_id`` is that of the topic whose positions are known, None where nobody has said."""
        self._silence_s = silence_s
        self.name, self.topic_id = topic, topic_id
        self._settings, self._clock = settings, clock
        self._epochs: dict[int, int] = {}  # of leaders, up to which was compared, by partition
        self._heard_s = clock()  # when records came last

    def is_in_doubt(self, records: Sequence[Record], positions: Mapping[int, int]) -> bool:
        """Return whether the topic may have lost what was read before these records came."""
        if not records:
            return False
        silence_s, self._heard_s = self._clock() - self._heard_s, self._clock()
        went_back = any(one.offset < positions.get(one.partition, 0) for one in records)
        later = [one for one in records if epoch_of(one) > self._epochs.get(one.partition, NO_EPOCH)]
        self._epochs |= {one.partition: epoch_of(one) for one in later}
        return silence_s > self._silence_s or went_back or bool(later)

    def is_another(self, positions: Mapping[int, int], last_read: Mapping[int, LastRead]) -> bool:
        """Return whether it is another topic than the one that was read, or lost what was read. Raises ``ClientError``.

        From then on it is known which topic it is.
        """
        try:
            return asyncio.run(self._is_another(positions, last_read))
        except (KafkaError, TimeoutError) as exc:
            raise ClientError(
                f"the brokers at {self._settings.bootstrap_servers} do not tell what {self.name} holds "
                f"({type(exc).__name__}: {exc}), so nothing is read on: start again when they do"
            ) from exc

    async def _is_another(self, positions: Mapping[int, int], last_read: Mapping[int, LastRead]) -> bool:
        now = await source_of(self._settings, self.name)
        if now.is_another(Source(self.topic_id or "")) or max(positions, default=-1) >= now.partitions:
            return True
        self.topic_id = now.topic_id or self.topic_id
        bounds = await bounds_of(self._settings, [TP(self.name, number) for number in positions])
        if any(offset > bounds[TP(self.name, number)].written for number, offset in positions.items()):
            return True
        known = {TP(self.name, number): _source_of(last) for number, last in last_read.items()}
        return bool(await replaced_records(self._settings, known, bounds))


def _source_of(last: LastRead) -> Source:
    about = last.offset, last.checksum, last.epoch, last.offset + 1, last.newest_ms, last.newest_from
    return Source("", 0, *about)
