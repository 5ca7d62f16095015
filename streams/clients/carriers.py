"""How records get to the brokers: each by itself and at once. ``whole_batches.py`` is the way to fill topics."""

from collections.abc import Sequence
from typing import Protocol

from kafka import KafkaProducer
from kafka.errors import KafkaError

from rankstream.streams.clients.connect import ClientError, connect
from rankstream.streams.settings import Settings
from rankstream.streams.tracing import Headers

BATCH_BYTES = 1 << 18
MAX_RECORD_BYTES = 4 << 20
CLOSE_S = 5.0


class Carrier(Protocol):
    """Takes records to the brokers: idempotent, and acknowledged by every replica in sync."""

    @property
    def taken(self) -> int:
        """How many records it was handed, and took."""
        ...

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = ()) -> None:
        """Queue one record; ``flush`` waits until the brokers have it. Raises ``ClientError``."""
        ...

    def send_many(self, topic: str, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Queue a record of each pair, in order. Raises ``ClientError``."""
        ...

    def flush(self, timeout_s: float) -> None:
        """Wait until all that was sent is acknowledged or refused. Raises ``ClientError`` if that takes longer."""
        ...

    def take_failures(self) -> tuple[int, BaseException | None]:
        """Return how many records were refused since the last call, and why the first was."""
        ...

    def close(self) -> None:
        """Hang up; what was not flushed may be lost."""
        ...


class SingleRecords:
    """Hands each record to kafka-python, which sends it at once, with what else came meanwhile."""

    def __init__(self, settings: Settings) -> None:
        self._kafka = connect(
            settings, KafkaProducer, acks="all", linger_ms=0, batch_size=BATCH_BYTES, max_request_size=MAX_RECORD_BYTES
        )
        self._failures: list[BaseException] = []
        self.taken = 0

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = ()) -> None:
        """Queue one record."""
        try:
            self._kafka.send(topic, key=key, value=value, headers=list(headers)).add_errback(self._failures.append)
        except KafkaError as exc:
            raise ClientError(f"a record can't be sent to {topic}: {exc}") from exc
        self.taken += 1

    def send_many(self, topic: str, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Queue a record of each pair."""
        for key, value in zip(keys, values, strict=True):
            self.send(topic, key, value)

    def flush(self, timeout_s: float) -> None:
        """Wait until all is acknowledged or refused."""
        try:
            self._kafka.flush(timeout_s)
        except KafkaError as exc:
            raise ClientError(f"the brokers did not take all records within {timeout_s:g} s: {exc}") from exc

    def take_failures(self) -> tuple[int, BaseException | None]:
        """Return how many were refused, and why the first was."""
        count, first = len(self._failures), next(iter(self._failures), None)
        self._failures.clear()
        return count, first

    def close(self) -> None:
        """Hang up."""
        self._kafka.close(timeout=CLOSE_S)
