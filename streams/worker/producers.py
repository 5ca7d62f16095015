"""The producers of a worker: they wait for brokers as long as it takes, and how they end.

aiokafka fails what it holds for a partition without a leader, and what finds no room behind that, as soon as a request
would have taken too long. An idempotent producer can't go on then, as a sequence number is missing, so the worker would
end each time that the only replica of one partition is away for 40 s. What waits has an end elsewhere: a record has its
room, a checkpoint the timeout of its transaction, the way out its own time.

Names of aiokafka used here are not public (``_request_timeout_ms``, ``_message_accumulator``, ``_batch_ttl``): it is
pinned.
"""

import asyncio
import logging
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from rankstream.streams.clients.idempotent import abandon, with_counting_sender
from rankstream.streams.clients.patient_client import make_patient
from rankstream.streams.connection import connection_of
from rankstream.streams.settings import Settings
from rankstream.streams.worker.limits import REQUEST_BYTES, Limits

log = logging.getLogger(__name__)

STOP_S = 5.0
FOR_EVER_S = 365 * 86_400.0  # event loops take no infinity


def new_producer(settings: Settings, limits: Limits, **options: Any) -> AIOKafkaProducer:
    """Return a producer, not started yet; ``options`` are aiokafka's."""
    producer = with_counting_sender(
        AIOKafkaProducer(
            **connection_of(settings, AIOKafkaProducer),
            acks="all",
            max_batch_size=limits.batch_bytes,
            max_request_size=REQUEST_BYTES,
            **options,
        )
    )
    make_patient(producer.client)
    producer._request_timeout_ms = FOR_EVER_S * 1000  # to find room; the client has its own copy for requests
    producer._message_accumulator._batch_ttl = FOR_EVER_S  # to find a leader
    return producer


async def stop_producer(producer: AIOKafkaProducer, flush: bool) -> None:
    """Stop a producer within a few seconds; without ``flush`` nothing of what waits is sent any more."""
    try:
        if flush:
            async with asyncio.timeout(STOP_S):
                await producer.stop()
                return
    except (TimeoutError, KafkaError) as exc:
        log.warning("a producer ends with records that it could not send: %r", exc)
    await abandon(producer)
