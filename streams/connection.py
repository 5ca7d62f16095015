"""How clients reach the brokers: the settings as arguments of aiokafka and of Faust, and what they can decompress."""

import ssl
from collections.abc import Callable, Container
from importlib.util import find_spec
from inspect import signature
from typing import Any

from aiokafka import codec
from faust.auth import Credentials, GSSAPICredentials, OAuthCredentials, SASLCredentials, SSLCredentials

from rankstream.streams.kafka_options import options_in
from rankstream.streams.setting_fields import SettingsError
from rankstream.streams.settings import GSSAPI, OAUTH, Settings
from rankstream.streams.tokens import AsyncTokens, token_function

READ_COMMITTED = "read_committed"  # isolation of every consumer: records of aborted transactions never happened


def connection_of(settings: Settings, client: type) -> dict[str, Any]:
    """Return the arguments that a client of aiokafka takes: brokers, security, and the user's own options."""
    servers = settings.bootstrap_servers.split(",")
    known = signature(client).parameters
    return {"bootstrap_servers": servers, **security_of(settings, AsyncTokens), **handed_on(settings, known)}


def handed_on(settings: Settings, known: Container[str]) -> dict[str, Any]:
    """Return those of the user's own options of clients that one client knows (``streams/kafka_options.py``)."""
    return {name: value for name, value in options_in(settings.kafka, "kafka").items() if name in known}


def security_of(settings: Settings, tokens: Callable[[Callable[[], str]], object]) -> dict[str, Any]:
    """Return how to secure a connection and to log in, as aiokafka and kafka-python both name it.

    ``tokens`` is the library's own class of ``streams/tokens.py``.
    """
    arguments: dict[str, Any] = {"security_protocol": settings.security_protocol}
    if settings.security_protocol.startswith("SASL"):
        arguments["sasl_mechanism"] = settings.sasl_mechanism
        if settings.sasl_mechanism == OAUTH:
            arguments["sasl_oauth_token_provider"] = tokens(token_function(settings.sasl_oauth_token))
        elif settings.sasl_mechanism == GSSAPI:
            arguments |= _kerberos_of(settings)
        else:
            arguments["sasl_plain_username"] = settings.sasl_username
            arguments["sasl_plain_password"] = settings.sasl_password
    if settings.security_protocol.endswith("SSL"):
        arguments["ssl_context"] = tls_of(settings)
    return arguments


def _kerberos_of(settings: Settings) -> dict[str, Any]:
    """Return whose ticket to ask for. Raises ``SettingsError`` where the package that asks is missing."""
    if find_spec("gssapi") is None:
        raise SettingsError(
            'sasl_mechanism is GSSAPI, which needs the package gssapi: pip install "rankstream[kerberos]" (it is built '
            "against the Kerberos libraries of the system, libkrb5-dev or krb5-devel)"
        )
    names = {"sasl_kerberos_service_name": settings.sasl_kerberos_service_name}
    domain = settings.sasl_kerberos_domain_name
    return names if domain is None else names | {"sasl_kerberos_domain_name": domain}


def credentials_of(settings: Settings) -> Credentials | None:
    """Return the same for ``faust.App(broker_credentials=...)``; None where the connection is plain."""
    tls = tls_of(settings) if settings.security_protocol.endswith("SSL") else None
    if settings.security_protocol.startswith("SASL") and settings.sasl_mechanism == OAUTH:
        return OAuthCredentials(oauth_cb=AsyncTokens(token_function(settings.sasl_oauth_token)), ssl_context=tls)
    if settings.security_protocol.startswith("SASL") and settings.sasl_mechanism == GSSAPI:
        names = {name.removeprefix("sasl_"): value for name, value in _kerberos_of(settings).items()}
        return GSSAPICredentials(**names, ssl_context=tls)
    if settings.security_protocol.startswith("SASL"):
        return SASLCredentials(
            username=settings.sasl_username,
            password=settings.sasl_password,
            ssl_context=tls,
            mechanism=settings.sasl_mechanism,
        )
    return SSLCredentials(context=tls) if tls else None


def tls_of(settings: Settings) -> ssl.SSLContext:
    """Return the authorities to trust and the certificate to show; names are checked against certificates.

    Raises ``SettingsError`` for a file that can't be used.
    """
    authorities, own, key = settings.ssl_cafile, settings.ssl_certfile, settings.ssl_keyfile
    try:
        context = ssl.create_default_context(cafile=None if authorities is None else str(authorities))
    except (OSError, ssl.SSLError) as exc:
        raise SettingsError(f"ssl_cafile {authorities} can't be used ({_reason(exc)}); wanted a PEM file") from exc
    if own is None:
        return context
    password = settings.ssl_key_password or ""  # without one OpenSSL would ask on the terminal
    try:
        context.load_cert_chain(own, key, password)
    except (OSError, ssl.SSLError) as exc:
        raise SettingsError(
            f"ssl_certfile {own} with the key in {key or 'the same file'} can't be used ({_reason(exc)}); wanted the "
            "certificate and the key that belongs to it, as PEM, and ssl_key_password where the key has one"
        ) from exc
    return context


def _reason(exc: OSError) -> str:
    return str(exc.strerror or exc)


def missing_codecs() -> list[str]:
    """Return the compressions of Kafka that aiokafka can't undo in this installation: a package is missing."""
    available = {"lz4": codec.has_lz4(), "snappy": codec.has_snappy(), "zstd": codec.has_zstd()}
    return [name for name, is_there in available.items() if not is_there]
