"""How often a consumer has lost a connection that it fetched over: nothing cuts a log under a broker that goes on.

A leader's epoch tells of most cuts, but not where a disk was set back together with the cluster's metadata: the epochs
of before come again. The broker was started anew for that, and ended what was connected to it.

Names of aiokafka used here are not public: it is pinned.
"""

from typing import Any

from aiokafka.client import ConnectionGroup
from aiokafka.protocol.fetch import FetchRequest


class FetchConnections:
    """Counts lost connections of a client; a fetch's answer comes behind those that were lost before it."""

    def __init__(self, client: Any) -> None:
        self.lost = 0
        self._client, self._send = client, client.send
        self._last: dict[int, object] = {}  # by broker
        client.send = self._counted

    async def _counted(self, node_id: int, request: Any, **options: Any) -> Any:
        answer = await self._send(node_id, request, **options)
        if isinstance(request, FetchRequest):
            used = self._client._conns.get((node_id, ConnectionGroup.DEFAULT))
            self.lost += used is not self._last.setdefault(node_id, used)
            self._last[node_id] = used
        return answer
