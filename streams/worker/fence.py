"""The fence of a partition: who opens it last is the only one whose records count.

A worker that others took for dead may wake with records in its hands that are older than its heir's. So all that makes
up a checkpoint goes through a transactional producer whose id is the partition's (as in Kafka Streams): opening it
raises its epoch at the broker, which from then on refuses whoever has an earlier one, and aborts what that one left
open. It is opened before anything is read of the partition, so what is read is final.

Names of aiokafka used here are not public (``_sender``, ``_txn_manager``): it is pinned.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    IncompatibleBrokerVersion,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTransactionTimeout,
    InvalidTxnState,
    KafkaError,
    NotCoordinatorError,
    ProducerFenced,
    TransactionalIdAuthorizationFailed,
    UnknownError,
    for_code,
)
from aiokafka.errors import ConcurrentTransactions as BusyError
from aiokafka.protocol.transaction import EndTxnRequest, InitProducerIdRequest
from faust.types import TP

from rankstream.streams.clients.patient_client import make_patient
from rankstream.streams.clients.rights import is_denial
from rankstream.streams.clients.throttling import OF_THIS_PROCESS
from rankstream.streams.connection import connection_of
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, TopicNames
from rankstream.streams.worker.limits import Limits
from rankstream.streams.worker.producers import new_producer, stop_producer
from rankstream.streams.worker.rights import without_transactions

FENCED = (ProducerFenced, InvalidProducerEpoch, InvalidProducerIdMapping, InvalidTxnState)
REFUSALS = (TransactionalIdAuthorizationFailed, ClusterAuthorizationFailedError, InvalidTransactionTimeout)
NOT_YET = (CoordinatorLoadInProgressError, CoordinatorNotAvailableError, NotCoordinatorError, BusyError)
TRANSACTION_TIMEOUT_MS = 300_000  # after it brokers abort what a dead worker left open, if no heir comes before
ANSWER_S = 30.0
LOOK_S = 2.0
RETRY_S = 0.1
Offset = int | tuple[int, str]  # with its metadata
OLD_EPOCH = (47, 90)  # invalid producer epoch, producer fenced


class FencedError(RuntimeError):
    """The worker's records are refused from now on; the message is one sentence and says what to do."""


class FenceRefusedError(RuntimeError):
    """The brokers give no transactions to this worker; the message is one sentence and says what to do."""


class Fence:
    """The transactions of one partition: what is sent inside one counts as a whole, or not at all."""

    def __init__(self, settings: Settings, limits: Limits, of: int | str) -> None:
        """Make the fence of a partition's number, or of something else that one worker does at a time."""
        topic = TopicNames(settings.topic_prefix).of(ACTIONS)
        self.name = f"partition {of}" if isinstance(of, int) else of
        self.id = f"{settings.app_id}-{topic}-{of}"
        self.group = settings.app_id
        self.producer = new_producer(
            settings,
            limits,
            transactional_id=self.id,
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
        )

    async def open(self) -> None:
        """Make the brokers refuse whoever opened it before; returns when what that one left open is aborted."""
        try:
            async with OF_THIS_PROCESS.answered_within(ANSWER_S):
                await self.producer.start()
        except TimeoutError:
            raise FenceRefusedError(
                f"{self.name}: no transactional producer from the brokers within {ANSWER_S:g} s: are all of them up?"
            ) from None

    @asynccontextmanager
    async def transaction(self, offsets: Mapping[TP, Offset]) -> AsyncIterator[AIOKafkaProducer]:
        """Send with the producer inside; the group's offsets are committed with it.

        Raises ``FencedError``, and ``KafkaError`` for anything else that brokers refuse.
        """
        try:
            await self.producer.begin_transaction()
            yield self.producer
            if offsets:
                committed = {TopicPartition(*tp): offset for tp, offset in offsets.items()}
                await self.producer.send_offsets_to_transaction(committed, self.group)
            await self.producer.commit_transaction()
        except (KafkaError, AssertionError) as exc:  # asserted: aiokafka's sender has ended before
            causes = self._causes_of(exc)
            if not any(isinstance(one, FENCED) for one in causes):
                raise next(filter(is_denial, causes), exc) from exc.__cause__  # aiokafka's own error names no right
            raise FencedError(
                f"{self.name} belongs to another worker now, or its transaction was open for longer than "
                f"{TRANSACTION_TIMEOUT_MS // 1000} s: this one's records are refused and it ends without writing "
                "anything more; start it again"
            ) from exc

    def _causes_of(self, exc: BaseException) -> list[BaseException]:
        """Return an error, what ended the sender if it has ended, and what both came from."""
        sending = self.producer._sender.sender_task
        ended = sending.exception() if sending is not None and sending.done() and not sending.cancelled() else None
        found = [exc, exc.__cause__, ended, None if ended is None else ended.__cause__]
        return [one for one in found if one is not None]

    async def is_refused(self) -> bool:
        """Return whether another worker has opened it since; only between transactions: one under way is aborted."""
        manager = self.producer._txn_manager
        request = EndTxnRequest(self.id, manager.producer_id, manager.producer_epoch, False)
        try:
            async with asyncio.timeout(LOOK_S):
                answer = await _ask(self.producer.client, self.id, request)
        except (TimeoutError, KafkaError):
            return False
        return answer is not None and answer.error_code in OLD_EPOCH

    async def close(self, flush: bool) -> None:
        """Stop the producer; without ``flush`` nothing is sent any more."""
        await stop_producer(self.producer, flush)


async def brokers_fence(settings: Settings) -> bool:
    """Ask the brokers for a producer twice, and return whether they refuse the first one then.

    Raises ``FenceRefusedError`` where they know transactions but this worker gets none.
    """
    client = AIOKafkaClient(**connection_of(settings, AIOKafkaClient))
    make_patient(client)
    OF_THIS_PROCESS.watch(client)
    try:
        async with OF_THIS_PROCESS.answered_within(ANSWER_S):
            await client.bootstrap()
            return await _refuses_the_first(client, f"{settings.app_id}-probe")
    except TimeoutError:
        raise FenceRefusedError(
            f"the brokers at {settings.bootstrap_servers} have no coordinator for transactions after {ANSWER_S:g} s: "
            "are all of them up, and is transaction.state.log.replication.factor larger than their number?"
        ) from None
    except REFUSALS as exc:
        if is_denial(exc):
            raise FenceRefusedError(f"no transactions: {without_transactions(settings)}") from None
        raise FenceRefusedError(
            f"the brokers give this worker no transactions ({exc}): it needs a transaction.max.timeout.ms of at least "
            f"{TRANSACTION_TIMEOUT_MS}"
        ) from None
    finally:
        await client.close()


async def _refuses_the_first(client: AIOKafkaClient, name: str) -> bool:
    initialise = InitProducerIdRequest(name, TRANSACTION_TIMEOUT_MS)
    first, again = await _ask(client, name, initialise), await _ask(client, name, initialise)
    if first is None or again is None:
        return False
    late = await _ask(client, name, EndTxnRequest(name, first.producer_id, first.producer_epoch, False))
    return late is not None and late.error_code in OLD_EPOCH


async def _ask(client: AIOKafkaClient, name: str, request: Any) -> Any | None:
    """Send to the coordinator until there is one; return None where brokers don't know the request, or what to do."""
    while True:
        try:
            node = await client.coordinator_lookup(CoordinationType.TRANSACTION, name)
            await client.ready(node, group=ConnectionGroup.COORDINATION)
            answer = await client.send(node, request, group=ConnectionGroup.COORDINATION)
            error = for_code(answer.error_code)
            if error in NOT_YET or error in REFUSALS:
                raise error
            return None if answer.error_code == UnknownError.errno else answer
        except IncompatibleBrokerVersion:
            return None
        except KafkaError as exc:
            if not exc.retriable and not isinstance(exc, NOT_YET):
                raise
            await asyncio.sleep(RETRY_S)
