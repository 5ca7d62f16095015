"""The producers of a worker, and how they end."""

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
