"""Tokens to log in with (OAUTHBEARER, KIP-255): a function of the user's own, for each of the two client libraries."""

import asyncio
from collections.abc import Callable
from importlib import import_module

from aiokafka.abc import AbstractTokenProvider as AsyncProvider
from kafka.net.sasl.oauth import AbstractTokenProvider as Provider

from rankstream.streams.setting_fields import SettingsError


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
