"""A gateway that runs in a thread of the test, and calls on it as any HTTP client would make them."""

import asyncio
import json
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from types import TracebackType
from typing import Any, Self

from rankstream.features.stores.memory import MemoryStore
from rankstream.gateway.app import Gateway
from rankstream.gateway.road import Road
from rankstream.gateway.server import serve
from rankstream.gateway.settings import GatewaySettings
from rankstream.gateway.worker_road import WorkerRoad
from tests.builders.actions import SomeLiveRanker
from tests.builders.patience import PATIENCE_S


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    document: Any
    headers: Mapping[str, str]

    @property
    def reason(self) -> str:
        return str(self.document["error"]["reason"])


class RunningGateway:
    """A gateway on any free port, until the end of the ``with`` block."""

    def __init__(
        self,
        road: Road | None = None,
        tls: ssl.SSLContext | None = None,
        gateway: Gateway | None = None,
        **settings: Any,
    ) -> None:
        self.gateway = gateway or Gateway(
            road or WorkerRoad(SomeLiveRanker(), MemoryStore()), GatewaySettings(**{"port": 0} | settings)
        )
        self.address, self.port = "", 0
        self._tls = tls
        self._failed: BaseException | None = None
        self._serves = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        async def main() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            await serve(self.gateway, self._told, self._stop)

        try:
            asyncio.run(main())
        except BaseException as exc:
            self._failed = exc
            self._serves.set()

    def _told(self, address: str) -> None:
        self.address, self.port = address, int(address.rpartition(":")[2])
        self._serves.set()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._serves.wait(PATIENCE_S)
        if self._failed is not None:
            raise self._failed
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        if kind is None and self._failed is not None:
            raise self._failed

    def connection(self, timeout_s: float = PATIENCE_S) -> HTTPConnection:
        if self._tls is not None:
            return HTTPSConnection("localhost", self.port, timeout=timeout_s, context=self._tls)
        return HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Make one call; a body that is no text or bytes is sent as JSON."""
        raw = body if body is None or isinstance(body, str | bytes) else json.dumps(body)
        connection = self.connection()
        named = {"Content-Type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}
        connection.request(method, path, raw, named)
        answer = connection.getresponse()
        assert answer.headers["Content-Type"] == "application/json" or answer.status == 204
        text = answer.read()
        connection.close()
        return Answer(answer.status, json.loads(text) if text else None, answer.headers)

    def raw(self, sent: bytes) -> bytes:
        """Send bytes that may be no HTTP; return all that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as connection:
            connection.sendall(sent)
            return b"".join(iter(lambda: connection.recv(65536), b""))


def a_click(user: Any = "u1", **more: Any) -> dict[str, Any]:
    """An action as clients send it."""
    return {"user_id": user, "item_id": "a", "action": "click", "timestamp_ms": int(time.time() * 1000)} | more
