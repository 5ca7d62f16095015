"""The producers of a worker, and how they end.

Names of aiokafka used here are not public (``_sender``, ``_txn_manager``, ``_message_accumulator``, ``_closed``): it is
pinned.
"""

import asyncio
import logging
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerClosed, RecordListTooLargeError
from aiokafka.producer.sender import Sender, SendProduceReqHandler

from rankstream.streams.connection import connection_of
from rankstream.streams.settings import Settings
from rankstream.streams.worker.limits import REQUEST_BYTES, Limits

log = logging.getLogger(__name__)

TOO_LARGE_ERRORS = (MessageSizeTooLargeError, RecordListTooLargeError)
STOP_S = 5.0


class CountingSender(Sender):  # type: ignore[misc]
    """aiokafka's sender, but what brokers refuse for its size leaves no hole in the sequence numbers.

    An idempotent producer numbers its records, and brokers refuse all that comes behind a missing number.
    """

    async def _send_produce_req(self, node_id: int, batches: dict[Any, Any]) -> None:
        await SendProduceReqHandler(self, batches).do(node_id)
        for tp, batch in batches.items():  # muted still, so no later batch has a number yet
            if self._txn_manager is not None and _was_too_large(batch.future):
                self._txn_manager.increment_sequence_number(tp, -batch.record_count)
            self._muted_partitions.remove(tp)
        self._in_flight.remove(node_id)


def _was_too_large(ack: "asyncio.Future[object]") -> bool:
    return ack.done() and not ack.cancelled() and isinstance(ack.exception(), TOO_LARGE_ERRORS)


def new_producer(settings: Settings, limits: Limits, **options: Any) -> AIOKafkaProducer:
    """Return a producer, not started yet; ``options`` are aiokafka's."""
    producer = AIOKafkaProducer(
        **connection_of(settings, AIOKafkaProducer),
        acks="all",
        max_batch_size=limits.batch_bytes,
        max_request_size=REQUEST_BYTES,
        **options,
    )
    made = producer._sender
    producer._sender = CountingSender(
        producer.client,
        acks=made._acks,
        txn_manager=made._txn_manager,
        message_accumulator=made._message_accumulator,
        retry_backoff_ms=made._retry_backoff * 1000,
        request_timeout_ms=made._request_timeout_ms,
    )
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
    await _abandon(producer)


async def _abandon(producer: AIOKafkaProducer) -> None:
    """End without a flush, for which aiokafka has no call: fail all that waits, and hang up."""
    producer._closed = True
    sending = producer._sender.sender_task
    if sending is not None:
        sending.cancel()
        await asyncio.wait({sending}, timeout=0.1)
    producer._message_accumulator.fail_all(ProducerClosed())
    await producer.client.close()
