"""How clients reach the brokers: the settings as arguments of aiokafka and of Faust, and what they can decompress."""

import ssl
from typing import Any

from aiokafka import codec
from faust.auth import Credentials, SASLCredentials, SSLCredentials

from rankstream.streams.settings import Settings

READ_COMMITTED = "read_committed"  # isolation of every consumer: records of aborted transactions never happened


def connection_of(settings: Settings) -> dict[str, Any]:
    """Return the arguments that every client of aiokafka takes."""
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers.split(","),
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol.startswith("SASL"):
        arguments["sasl_mechanism"] = settings.sasl_mechanism
        arguments["sasl_plain_username"] = settings.sasl_username
        arguments["sasl_plain_password"] = settings.sasl_password
    if settings.security_protocol.endswith("SSL"):
        arguments["ssl_context"] = tls_of(settings)
    return arguments


def credentials_of(settings: Settings) -> Credentials | None:
    """Return the same for ``faust.App(broker_credentials=...)``; None where the connection is plain."""
    tls = tls_of(settings) if settings.security_protocol.endswith("SSL") else None
    if settings.security_protocol.startswith("SASL"):
        return SASLCredentials(
            username=settings.sasl_username,
            password=settings.sasl_password,
            ssl_context=tls,
            mechanism=settings.sasl_mechanism,
        )
    return SSLCredentials(context=tls) if tls else None


def tls_of(settings: Settings) -> ssl.SSLContext:
    """Return the authorities to trust; names are checked against certificates."""
    return ssl.create_default_context(cafile=None if settings.ssl_cafile is None else str(settings.ssl_cafile))


def missing_codecs() -> list[str]:
    """Return the compressions of Kafka that aiokafka can't undo in this installation: a package is missing."""
    available = {"lz4": codec.has_lz4(), "snappy": codec.has_snappy(), "zstd": codec.has_zstd()}
    return [name for name, is_there in available.items() if not is_there]
