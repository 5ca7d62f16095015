"""A TCP proxy between one worker and the broker, whose line can be cut, slowed, or left half open.

It knows nothing of Kafka. The broker has a listener for each proxy and tells clients of that listener the proxy's
address, so all that a worker sends and hears goes through it.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import Any, Self

HOST = "127.0.0.1"
AT_ONCE = 1 << 16  # bytes
SLOW_S = 0.3  # that what was read waits, in each direction
SLOW_BYTES = 1 << 14  # read at once while slow, so 55 KB/s
START_S = 10.0
RESET = struct.pack("ii", 1, 0)  # of SO_LINGER: a close that is no polite end


class Line(Enum):
    """What a line does."""

    WHOLE = "whole"
    CUT = "cut"  # connections are reset, new ones too
    SLOW = "slow"
    HALF_OPEN = "half open"  # answers are swallowed, nothing is closed until the line is whole again


class Proxy:
    """Listens on a port of this machine and passes on to another, in a thread of its own; a context manager."""

    def __init__(self, port: int, to_port: int) -> None:
        self.port, self.to_port = port, to_port
        self._line = Line.WHOLE
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{port}", daemon=True)
        self._server: asyncio.Server | None = None

    @property
    def line(self) -> Line:
        """What the line does now."""
        return self._line

    def become(self, line: Line) -> None:
        """Change the line; one that was half open, or is cut, loses its connections."""
        self._run(self._become(line))

    async def _become(self, line: Line) -> None:
        before, self._line = self._line, line
        if line is Line.CUT or before is Line.HALF_OPEN:
            for writer in list(self._writers):
                reset(writer)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._line is Line.CUT:
            reset(writer)
            return
        try:
            from_broker, to_broker = await asyncio.open_connection(HOST, self.to_port)
        except OSError:  # the broker is away
            reset(writer)
            return
        self._writers |= {writer, to_broker}
        try:
            await asyncio.gather(
                self._pass_on(reader, to_broker, is_answer=False), self._pass_on(from_broker, writer, is_answer=True)
            )
        finally:
            self._writers -= {writer, to_broker}

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_answer: bool) -> None:
        """Pass on until one end is gone; then close the other."""
        with suppress(OSError):
            while found := await reader.read(SLOW_BYTES if self._line is Line.SLOW else AT_ONCE):
                if self._line is Line.SLOW:
                    await asyncio.sleep(SLOW_S)
                if self._line is Line.HALF_OPEN and is_answer:
                    continue
                writer.write(found)
                await writer.drain()
        reset(writer)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(START_S)

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, HOST, self.port)

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_S)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._become(Line.CUT)


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection so that the other side is told it is lost."""
    with suppress(OSError, AttributeError):  # it is closed already
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
