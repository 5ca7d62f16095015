"""Quotas of brokers (``producer_byte_rate``, ``consumer_byte_rate``, ``request_percentage``): how long they hold back.

Whom a broker finds beyond a quota it answers at once, says for how long, and reads nothing more from that connection
until then (KIP-219). aiokafka passes over what it says and sends the next request, whose answer comes so much later: a
worker is slow then and, to whoever asks it whether a broker answers, alone.
"""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

TELL_EVERY_S = 60.0

log = logging.getLogger(__name__)


class Throttling:
    """What the brokers have told the clients of one process."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.total_s = 0.0  # of all connections
        self._clock = clock
        self._until = 0.0
        self._told_at: float | None = None

    @property
    def holds_back(self) -> bool:
        """Return whether a broker is known to be silent now because of a quota."""
        return self._clock() < self._until

    def watch(self, client: Any) -> None:
        """Note what the answers to this client of aiokafka say."""
        send = client.send

        async def send_and_note(node_id: int, request: Any, **options: Any) -> Any:
            answer = await send(node_id, request, **options)
            self.note(getattr(answer, "throttle_time_ms", 0), client._client_id)
            return answer

        client.send = send_and_note

    def note(self, throttle_ms: int, client_id: str) -> None:
        """Note what one answer says, and tell the log once a minute."""
        if throttle_ms <= 0:
            return
        now = self._clock()
        self.total_s += throttle_ms / 1000
        self._until = max(self._until, now + throttle_ms / 1000)
        if self._told_at is None or now - self._told_at >= TELL_EVERY_S:
            self._told_at = now
            log.warning(
                "a broker reads nothing from this process for %.1f s, %.1f s in all so far: the client_id %s or its "
                "user is beyond a quota (kafka-configs.sh --describe --entity-type clients, and users); raise it, or "
                "all that goes over that connection waits",
                throttle_ms / 1000,
                self.total_s,
                client_id,
            )
