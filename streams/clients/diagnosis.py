"""Why the brokers can't be reached: the first step of a connection that fails, each with its own sentence.

::

    name -> port -> TLS: authority, name, own certificate -> is it Kafka? -> login: wanted, mechanism, password

A client library tries for a while and then says that there is no broker. These steps are taken one by one, on a
connection of their own, with the few bytes of Kafka's protocol that tell them apart (KIP-43, KIP-152); nothing is sent
that a password could be read from.
"""

import socket
import ssl
import struct
from collections.abc import Callable

from rankstream.streams.connection import tls_of
from rankstream.streams.settings import GSSAPI, OAUTH, Settings

STEP_S = 3.0
API_VERSIONS, METADATA, SASL_HANDSHAKE = 18, 3, 17
UNSUPPORTED_MECHANISM, NO_LOGIN_EXPECTED = 33, 34
WRONG_NAME = (62, 64)  # OpenSSL's codes: the certificate is of another host name, or address
TLS_ALERT = b"\x15\x03"


class Broken(Exception):
    """What is wrong, as the end of a sentence about the server."""


def why_not(settings: Settings) -> str | None:
    """Return what is wrong with the first server that something is wrong with; None where none was found."""
    for server in settings.bootstrap_servers.split(","):
        try:
            _try(settings, server.strip())
        except Broken as exc:
            return f"{server.strip()} {exc}"
    return None


def _try(settings: Settings, server: str) -> None:
    host, _, port = server.rpartition(":")
    host = host.strip("[]")
    with _connected(host, int(port)) as plain, _secured(settings, plain, host) as connection:
        _speak(settings, connection)


def _connected(host: str, port: int) -> socket.socket:
    try:
        return socket.create_connection((host, port), timeout=STEP_S)
    except socket.gaierror as exc:
        raise Broken("has a host name that is not known here: check --bootstrap-servers") from exc
    except ConnectionRefusedError as exc:
        raise Broken("refuses connections, as nothing listens there: check that a broker runs there") from exc
    except TimeoutError as exc:
        raise Broken(f"did not answer within {STEP_S:g} s: check address, network and firewall") from exc
    except OSError as exc:
        raise Broken(f"can't be reached ({exc.strerror or exc})") from exc


def _secured(settings: Settings, connection: socket.socket, host: str) -> socket.socket:
    if not settings.security_protocol.endswith("SSL"):
        return connection
    try:
        return tls_of(settings).wrap_socket(connection, server_hostname=host)
    except ssl.SSLCertVerificationError as exc:
        if exc.verify_code in WRONG_NAME:
            raise Broken(
                f"shows a certificate of another name ({exc.verify_message}): use a name that is in it"
            ) from exc
        raise Broken(
            f"shows a certificate that is not trusted here ({exc.verify_message}): name its authority's PEM file with "
            "--ssl-cafile"
        ) from exc
    except TimeoutError as exc:
        other = f"it does not speak TLS on that port, but security_protocol is {settings.security_protocol}"
        raise _silent(other) from exc
    except OSError as exc:
        raise Broken(
            f"does not speak TLS on that port, but security_protocol is {settings.security_protocol}: name the port of "
            "its TLS listener, or another security_protocol"
        ) from exc


def _speak(settings: Settings, connection: socket.socket) -> None:
    protocol, ask = settings.security_protocol, _Asker(connection)
    try:
        ask(API_VERSIONS, b"")
    except ssl.SSLError as exc:
        own = "its own" if settings.ssl_certfile is None else "another"
        raise Broken(
            f"does not accept this client's TLS ({exc.reason or exc}): it may want {own} certificate, --ssl-certfile"
        ) from exc
    except TimeoutError as exc:
        raise _silent() from exc
    except (OSError, EOFError) as exc:
        other = "" if protocol.endswith("SSL") else ": it may speak TLS, --security-protocol SSL or SASL_SSL"
        raise Broken(f"ends the connection at the first request, with security_protocol {protocol}{other}") from exc
    try:
        if protocol.startswith("SASL"):
            _check_login(settings, ask(SASL_HANDSHAKE, _text(settings.sasl_mechanism), version=1))
        else:
            ask(METADATA, struct.pack(">i", 0))
    except TimeoutError as exc:
        raise _silent() from exc
    except (OSError, EOFError) as exc:
        with_login = "SASL_SSL" if protocol == "SSL" else "SASL_PLAINTEXT"
        raise Broken(f"wants a login, but security_protocol is {protocol}: --security-protocol {with_login}") from exc


def _silent(other: str = "has more to do than it can") -> Broken:
    """Return what is wrong with who takes a connection and does not answer: who wants TLS or a login hangs up."""
    return Broken(f"takes connections, and says nothing within {STEP_S:g} s: it stands still, or {other}")


def _check_login(settings: Settings, answer: bytes) -> None:
    """Raise what a handshake says; that it went well, and yet nobody could log in, is the password's fault."""
    (code,) = struct.unpack_from(">h", answer)
    if code == UNSUPPORTED_MECHANISM:
        raise Broken(
            f"does not take sasl_mechanism {settings.sasl_mechanism}; it takes {', '.join(_texts(answer[2:]))}"
        )
    if code == NO_LOGIN_EXPECTED:
        plain = settings.security_protocol.removeprefix("SASL_")
        raise Broken(f"takes no login, but security_protocol is {settings.security_protocol}: {plain} fits it")
    if settings.sasl_mechanism == OAUTH:
        raise Broken(f"refuses the token of sasl_oauth_token, {settings.sasl_oauth_token}: check its scope and its age")
    if settings.sasl_mechanism == GSSAPI:
        raise Broken(
            f"takes GSSAPI, and yet no ticket of this process for {settings.sasl_kerberos_service_name} lets it in: "
            "check klist, sasl_kerberos_service_name and sasl_kerberos_domain_name"
        )
    raise Broken(
        f"refuses the login of {settings.sasl_username} by {settings.sasl_mechanism}: check sasl_username and "
        "sasl_password"
    )


class _Asker:
    """Sends requests and returns the bodies of their answers. Raises ``EOFError`` or ``OSError``."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._receive: Callable[[int], bytes] = connection.recv

    def __call__(self, api: int, body: bytes, version: int = 0) -> bytes:
        """Return what is in the answer after its correlation id."""
        request = struct.pack(">hhi", api, version, 1) + _text("rankstream") + body
        self._connection.sendall(struct.pack(">i", len(request)) + request)
        head = self._read(4)
        if head.startswith(TLS_ALERT):
            raise EOFError
        return self._read(struct.unpack(">i", head)[0])[4:]

    def _read(self, size: int) -> bytes:
        parts = b""
        while len(parts) < size:
            part = self._receive(size - len(parts))
            if not part:
                raise EOFError
            parts += part
        return parts


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">h", len(raw)) + raw


def _texts(raw: bytes) -> list[str]:
    """Return an array of texts."""
    (count,), at, found = struct.unpack_from(">i", raw), 4, []
    for _ in range(count):
        (size,) = struct.unpack_from(">h", raw, at)
        found.append(raw[at + 2 : at + 2 + size].decode())
        at += 2 + size
    return found
