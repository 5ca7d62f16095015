"""Every setting of the gateway once; ``streams/setting_fields.py`` looks their values up.

A flag (``--port 80``), the environment (``RANKSTREAM_GATEWAY_PORT=80``), a file (``port = 80`` under ``[gateway]`` in
``rankstream.toml``), else the default.
"""
# ruff: noqa: RUF009 - setting() gives a dataclass field, nothing that fields could share

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from ipaddress import ip_address
from pathlib import Path

from rankstream.streams.setting_fields import Origins, SettingsError, check_value, find_values, setting, variable

TABLE = "gateway"
TOKEN = re.compile(r"[!-+\--~]{16,}")  # what a header can carry, without the comma that separates two


class GatewaySection(Enum):
    """What a setting of the gateway is about."""

    LISTENING = "Gateway: listening"
    ACCESS = "Gateway: access"
    LIMITS = "Gateway: limits"


LISTENING, ACCESS, LIMITS = GatewaySection


@dataclass(frozen=True)
class GatewaySettings:
    """Where the gateway listens, whom it lets in, and how much of what."""

    port: int = setting(8080, LISTENING, "Port to listen on; 0 for any free one.", minimum=0, maximum=65_535)
    host: str = setting(
        "127.0.0.1", LISTENING, "Address to listen on; others than this machine are let in only if told so, by 0.0.0.0."
    )
    tls_certfile: Path | None = setting(
        None, LISTENING, "PEM file of the certificate to show; without one the gateway speaks plain HTTP."
    )
    tls_keyfile: Path | None = setting(None, LISTENING, "PEM file of its key; not given where tls_certfile holds both.")
    token: str | None = setting(
        None,
        ACCESS,
        "Token that clients show as `Authorization: Bearer ...`, of at least 16 characters; several with commas, while "
        "one replaces another. By environment or file only.",
        secret=True,
    )
    anonymous: bool = setting(
        False, ACCESS, "Let everybody in who reaches the gateway, where it listens to others than this machine."
    )
    cors_origin: str | None = setting(
        None, ACCESS, "The origin whose pages may call the gateway, as https://shop.example; none if not given."
    )
    rate_limit: float = setting(
        0.0,
        ACCESS,
        "Requests that each client address may make in a second, in bursts of as many; 0 is no limit. Behind a proxy "
        "all have one address: limit there.",
        unit="requests/s",
        minimum=0,
    )
    body_limit_bytes: int = setting(
        2 << 20, LIMITS, "Largest body that is read.", unit="bytes", minimum=1024, maximum=64 << 20
    )
    max_in_flight: int = setting(
        1000, LIMITS, "Requests that may wait for brokers and workers at once; more are answered 429.", minimum=1
    )
    max_streams: int = setting(1000, LIMITS, "Clients that may follow feeds as they come.", minimum=0)
    ack_timeout_ms: int = setting(
        5000, LIMITS, "The longest wait for brokers to acknowledge.", unit="ms", minimum=10, maximum=600_000
    )
    answer_timeout_ms: int = setting(
        2000,
        LIMITS,
        "The longest wait for a feed; a request's own deadline_ms counts where it is sooner.",
        unit="ms",
        minimum=10,
        maximum=600_000,
    )

    def __post_init__(self) -> None:
        for known in fields(self):
            if getattr(self, known.name) is not None:
                check_value(known, getattr(self, known.name), known.name)
        if not all(TOKEN.fullmatch(token) for token in self.tokens):
            raise SettingsError(
                f"{variable('token', TABLE)} is not a token; wanted at least 16 characters without spaces, as of "
                "`openssl rand -hex 32`"
            )
        if not (self.tokens or self.anonymous or is_loopback(self.host)):
            raise SettingsError(
                f"host is {self.host}, so that others than this machine could send actions and read feeds, and there "
                f"is no token: set {variable('token', TABLE)}, or say --anonymous where something else guards it"
            )
        if self.tls_keyfile is not None and self.tls_certfile is None:
            raise SettingsError(f"tls_keyfile is {self.tls_keyfile}, but there is no tls_certfile that it belongs to")

    @property
    def tokens(self) -> tuple[str, ...]:
        """Return the tokens that are let in; none: no token is asked for."""
        return tuple(one.strip() for one in self.token.split(",")) if self.token else ()


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def server_tls(settings: GatewaySettings) -> ssl.SSLContext | None:
    """Return what to serve HTTPS with; None for HTTP. Raises ``SettingsError`` for files that can't be used."""
    own, key = settings.tls_certfile, settings.tls_keyfile
    if own is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(own, key, "")  # with no password at all OpenSSL would ask on the terminal
    except (OSError, ssl.SSLError) as exc:
        raise SettingsError(
            f"tls_certfile {own} with the key in {key or 'the same file'} can't be used ({exc.strerror or exc}); "
            "wanted the certificate and the key that belongs to it, as PEM, the key without a password"
        ) from exc
    return context


def read_gateway_settings(
    flags: Mapping[str, object] | None = None, file: Path | None = None, environment: Mapping[str, str] | None = None
) -> GatewaySettings:
    """Read all settings of the gateway. Raises ``SettingsError``, which names the source of the value that is wrong."""
    return read_gateway_origins(flags, file, environment).settings


def read_gateway_origins(
    flags: Mapping[str, object] | None = None, file: Path | None = None, environment: Mapping[str, str] | None = None
) -> Origins[GatewaySettings]:
    """Read all settings of the gateway, with their sources."""
    return find_values(GatewaySettings, flags, environment, file, table=TABLE)
