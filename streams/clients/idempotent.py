"""Idempotent producers of aiokafka: a batch that brokers refuse for its size does not end them, and they end at once.

Names of aiokafka used here are not public (``_sender``, ``_txn_manager``, ``_transaction_waiter``,
``_message_accumulator``, ``_batch_size``, ``_closed``): it is pinned.
"""

import asyncio
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError, ProducerClosed, RecordListTooLargeError
from aiokafka.producer.sender import Sender, SendProduceReqHandler

TOO_LARGE_ERRORS = (MessageSizeTooLargeError, RecordListTooLargeError)


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


def with_counting_sender(producer: AIOKafkaProducer) -> AIOKafkaProducer:
    """Give a producer that is not started yet a ``CountingSender``, and return it."""
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


def limit_batches(producer: AIOKafkaProducer, size_bytes: int) -> None:
    """Let no batch that is begun from now on be larger, one record excepted."""
    accumulator = producer._message_accumulator
    accumulator._batch_size = min(accumulator._batch_size, size_bytes)


async def abandon(producer: AIOKafkaProducer) -> None:
    """End without a flush, for which aiokafka has no call: fail all that waits, and hang up."""
    producer._closed = True
    sending = producer._sender.sender_task
    if sending is not None:
        sending.cancel()
        await asyncio.wait({sending}, timeout=0.1)
    producer._message_accumulator.fail_all(ProducerClosed())
    waiter = None if producer._txn_manager is None else producer._txn_manager._transaction_waiter
    if waiter is not None and waiter.done() and not waiter.cancelled():
        waiter.exception()  # it was raised to whoever sent; asyncio logs what nobody has asked for
    await producer.client.close()
