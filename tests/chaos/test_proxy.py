"""The line between a worker and the broker, on real sockets, in each of its states."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from time import monotonic

import pytest

from chaos.proxy import HOST, SLOW_S, Line, Proxy
from rankstream.streams.broker import free_port


class EchoServer:
    """Answers what it reads, and remembers it."""

    def __init__(self) -> None:
        self.heard = b""
        self._socket = socket.create_server((HOST, 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RD)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        try:
            while found := connection.recv(1 << 16):
                self.heard += found
                connection.sendall(found)
        except OSError:
            pass
        finally:
            connection.close()


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with closing(EchoServer()) as made:
        yield made


@pytest.fixture
def line(server) -> Iterator[Proxy]:
    with Proxy(free_port(), server.port) as proxy:
        yield proxy


def connected(line: Proxy, timeout_s: float = 0.3) -> socket.socket:
    client = socket.create_connection((HOST, line.port), timeout=5)
    client.settimeout(timeout_s)
    return client


def asked(client: socket.socket, words: bytes) -> bytes:
    client.sendall(words)
    return client.recv(1 << 16)


def test_a_whole_line_passes_on_both_ways(line):
    with connected(line, 5) as one, connected(line, 5) as other:
        assert (asked(one, b"one"), asked(other, b"other")) == (b"one", b"other")


def test_a_cut_line_ends_connections_and_lets_none_in_until_it_is_whole(line, server):
    client = connected(line, 5)
    assert asked(client, b"before") == b"before"
    line.become(Line.CUT)
    with pytest.raises(ConnectionError):
        [asked(client, b"cut") for _ in range(3)]  # a reset shows by the next read or write
    with pytest.raises(ConnectionError):
        [asked(connected(line), b"new") for _ in range(3)]
    line.become(Line.WHOLE)
    assert asked(connected(line, 5), b"after") == b"after"
    assert server.heard == b"beforeafter"


def test_on_a_half_open_line_what_is_sent_arrives_and_no_answer_does(line, server):
    client = connected(line)
    asked(client, b"before")
    line.become(Line.HALF_OPEN)
    with pytest.raises(TimeoutError):
        asked(client, b"written")
    assert server.heard == b"beforewritten"
    line.become(Line.WHOLE)
    client.settimeout(5)
    with pytest.raises(ConnectionError):
        [asked(client, b"lost") for _ in range(3)]  # what was swallowed does not come late


def test_a_slow_line_takes_its_time_in_both_directions(line):
    client = connected(line, 5)
    line.become(Line.SLOW)
    started = monotonic()
    assert asked(client, b"slow") == b"slow"
    assert monotonic() - started > 2 * SLOW_S


def test_where_the_broker_is_away_nobody_is_let_in():
    with Proxy(free_port(), free_port()) as line, pytest.raises(ConnectionError), connected(line, 5) as client:
        [asked(client, b"anybody?") for _ in range(3)]
