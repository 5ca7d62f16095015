"""Tokens to log in with (OAUTHBEARER, KIP-255): a function of the user's own, for each of the two client libraries."""

import asyncio
from collections.abc import Callable
from importlib import import_module
from typing import Any

from aiokafka import conn
from aiokafka.abc import AbstractTokenProvider as AsyncProvider
from kafka.net.sasl.oauth import AbstractTokenProvider as Provider

from rankstream.streams.setting_fields import SettingsError

HEARD = b"\x01"


class Tokens(Provider):  # type: ignore[misc]
    """Asks the function for each connection of kafka-python."""

    def __init__(self, ask: Callable[[], str]) -> None:
        super().__init__()
        self.ask = ask

    def token(self) -> str:
        """Return a token."""
        return self.ask()


class AsyncTokens(AsyncProvider):  # type: ignore[misc]
    """Asks the function for each connection of aiokafka, in a thread: it may have to ask a server in turn."""

    def __init__(self, ask: Callable[[], str]) -> None:
        super().__init__()
        self.ask = ask

    async def token(self) -> str:
        """Return a token."""
        return await asyncio.to_thread(self.ask)


class RefusableToken(conn.OAuthAuthenticator):  # type: ignore[misc]
    """aiokafka's login with a token, which hears a refusal.

    A broker that refuses a token says why and waits for an empty answer (RFC 7628, 3.2.3). aiokafka takes that for a
    login; its next request, whatever it asks for, then fails with ``IllegalSaslStateError``, which nobody tries again.
    """

    async def step(self, payload: bytes | None) -> Any:
        """Return the token, then the answer to a refusal: the broker ends the login as a failed one."""
        return (HEARD, True) if self._token_sent and payload else await super().step(payload)


conn.OAuthAuthenticator = RefusableToken  # aiokafka has no setting for it


def token_function(name: str | None) -> Callable[[], str]:
    """Return the function ``module:function``. Raises ``SettingsError`` if there is none."""
    module, _, function = (name or "").partition(":")
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as exc:
        raise SettingsError(
            f"sasl_oauth_token is {name!r}, and can't be used ({exc}); wanted module:function, of a module that this "
            "Python can import"
        ) from exc
    if not callable(found):
        raise SettingsError(f"sasl_oauth_token is {name!r}, which is no function; wanted one that returns a token")
    called: Callable[[], str] = found
    return called
