"""A broker that stands still is not waited for as long as a request may take: others do its work within seconds.

aiokafka has one time for all requests: 40 s, or 90 where a join of the group needs it. But a heartbeat, a look for a
coordinator or for leaders, and the steps of a transaction are answered at once or not at all. Where the coordinator of
the group stood still, workers waited at it until the one in its place took them for dead, each gave its partitions to
the other, and all ended. One connection that is not accepted, too, held up all others of its client.

With a single broker there is nobody else to ask: it is waited for as ever.

Names of aiokafka used here are not public (``_get_conn``, ``_request_timeout``, ``_request_timeout_ms``): it is pinned.
"""

import asyncio
import logging
from typing import Any

from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest, LeaveGroupRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
    TxnOffsetCommitRequest,
)

ANSWER_S = 10.0  # of what a broker answers at once
FIRST_S = 5.0  # of the first question of all, to each of the brokers that are named
FETCH_S = 30.0  # of records: a slow line takes its time
AT_ONCE = (
    HeartbeatRequest, LeaveGroupRequest, FindCoordinatorRequest, MetadataRequest, OffsetRequest, OffsetCommitRequest,
    OffsetFetchRequest, InitProducerIdRequest, AddPartitionsToTxnRequest, AddOffsetsToTxnRequest,
    TxnOffsetCommitRequest, EndTxnRequest,
)  # fmt: skip

log = logging.getLogger(__name__)


def expect_prompt_answers(client: Any, answer_s: float = ANSWER_S) -> None:
    """Have a client of aiokafka ask somebody else where one of several brokers has not answered for so long.

    For heartbeats that is a part of the session, so that there is time to find who coordinates the group now.
    """
    get_connection = client._get_conn
    answer_s = min(ANSWER_S, answer_s)

    async def get_connection_in_time(node_id: Any, **options: Any) -> Any:
        if not _has_several(client):
            return await get_connection(node_id, **options)
        try:
            async with asyncio.timeout(answer_s):
                connection = await get_connection(node_id, **options)
        except TimeoutError:
            log.info("broker %s takes no connection within %g s", node_id, answer_s)
            client.force_metadata_update()
            return None
        if connection is not None and "send" not in vars(connection):
            connection.send = _in_time(connection, client, answer_s)
        return connection

    reach = client.bootstrap

    async def reach_in_time() -> None:
        longest_ms = client._request_timeout_ms
        if len(client.hosts) > 1:
            client._request_timeout_ms = min(longest_ms, 1000 * min(FIRST_S, answer_s))
        try:
            await reach()
        finally:
            client._request_timeout_ms = longest_ms

    client._get_conn, client.bootstrap = get_connection_in_time, reach_in_time


def _in_time(connection: Any, client: Any, answer_s: float) -> Any:
    """Return the connection's ``send`` with a time for each kind of request."""
    send, longest_s = connection.send, connection._request_timeout

    def send_in_time(request: Any, **options: Any) -> Any:
        if _has_several(client):
            connection._request_timeout = min(longest_s, _patience_s(request, answer_s))
        try:
            return send(request, **options)
        finally:
            connection._request_timeout = longest_s

    return send_in_time


def _patience_s(request: Any, answer_s: float) -> float:
    if isinstance(request, AT_ONCE):
        return answer_s
    return FETCH_S if isinstance(request, FetchRequest) else float("inf")


def _has_several(client: Any) -> bool:
    return len(client.cluster.brokers()) > 1
