"""Connections of clients: options from settings, brokers that do not answer, topics that are missing."""

import random
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Generic, TypeVar

from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.net.compat import KafkaNetClient

from rankstream.streams.clients.diagnosis import why_not
from rankstream.streams.clients.rights import Lacking, lacking_on_topics, told
from rankstream.streams.connection import handed_on, security_of
from rankstream.streams.setting_fields import SettingsError
from rankstream.streams.settings import Settings
from rankstream.streams.tokens import Tokens

BOOTSTRAP_MS = 5_000
NEXT_ONE_MS, ANSWER_MS = 3_000, 5_000  # where several brokers are named, after it another one is asked
HANG_S = 10.0  # a TLS handshake with a listener that speaks none has no timeout of its own
POLL_MS = 200
ASK_AGAIN_S = 10.0  # a connection may break at any time; brokers that are away longer are told of
NEW_TOPIC_S = 2.0  # until all brokers know a topic that was just created

T = TypeVar("T")


class ClientError(Exception):
    """A broker that can't be used as asked; the message is one sentence with what to do."""


def kafka_options(settings: Settings) -> dict[str, Any]:
    """Return what all clients of kafka-python need: where the brokers are and how to log in."""
    return {
        "bootstrap_servers": [server.strip() for server in settings.bootstrap_servers.split(",")],
        "bootstrap_timeout_ms": BOOTSTRAP_MS,
        "client_id": "rankstream",
        **security_of(settings, Tokens),
    }


def connect(settings: Settings, make: Callable[..., T], **options: Any) -> T:
    """Make a client of kafka-python within seconds. Raises ``ClientError``."""
    try:
        options = kafka_options(settings) | handed_on(settings, make.DEFAULT_CONFIG) | options  # type: ignore[attr-defined]
    except SettingsError as exc:
        raise ClientError(str(exc)) from exc
    made, failure = _attempt(make, options)
    for _ in options["bootstrap_servers"][1:]:  # it takes one by chance, which may stand still
        if isinstance(failure, KafkaTimeoutError):
            made, failure = _attempt(make, options)
    if made is not None:
        return made
    if failure is not None and not (isinstance(failure, KafkaError | OSError | ValueError) or _is_kerberos(failure)):
        raise failure
    found = why_not(settings)
    reason = f" ({failure})" if failure is not None and not isinstance(failure, KafkaError) else ""
    raise ClientError(
        f"no Kafka broker answers at {settings.bootstrap_servers} with {settings.security_protocol}"
        + (f": {found}" if found else f"{reason}; check that one runs there, or name another with --bootstrap-servers")
    )


def _attempt(
    make: Callable[..., T], options: Mapping[str, Any], seconds: float = HANG_S
) -> tuple[T | None, BaseException | None]:
    """Make a client, in a thread that is waited for no longer than makes sense; or return why there is none.

    A client whose constructor raises leaves its connections and the thread that serves them behind, and one that is
    made too late has nobody to close it: both are closed here.
    """
    attempt = _Attempt(make, options)
    threading.Thread(target=attempt.run, name="rankstream-connect", daemon=True).start()
    return attempt.wait(seconds)


class _Attempt(Generic[T]):
    """One try to make a client, for whoever waits for it."""

    def __init__(self, make: Callable[..., T], options: Mapping[str, Any]) -> None:
        self._make, self._options = make, dict(options)
        self._made: T | None = None
        self._failed: BaseException | None = None
        self._opened: list[KafkaNetClient] = []
        self._ended, self._given_up, self._handing_over = threading.Event(), False, threading.Lock()

    def run(self) -> None:
        """Make the client."""
        try:
            made = self._make(**self._options, kafka_client=self._open)
        except BaseException as exc:  # handed over to the waiting thread
            self._failed = exc
            self._ended.set()
            self._close()
            return
        with self._handing_over:
            if not self._given_up:
                self._made = made
        self._ended.set()
        if self._made is None:
            self._close()

    def wait(self, seconds: float) -> tuple[T | None, BaseException | None]:
        """Return the client or why there is none; close it, also while it is made, if it takes longer than this."""
        ended = self._ended.wait(seconds)
        with self._handing_over:
            self._given_up = True
        if not ended and self._made is None:  # by a thread: closing may wait for a name
            threading.Thread(target=self._close, name="rankstream-connect", daemon=True).start()
        return self._made, self._failed

    def _open(self, **options: Any) -> KafkaNetClient:
        self._opened.append(KafkaNetClient(**options))
        return self._opened[-1]

    def _close(self) -> None:
        for client in self._opened:
            client.close()


def _is_kerberos(exc: BaseException) -> bool:
    """Return whether it is an error of gssapi, which may not be installed: no ticket, another realm."""
    return type(exc).__module__.partition(".")[0] == "gssapi"


def connect_admin(settings: Settings) -> Any:
    """Return kafka-python's admin client. Raises ``ClientError``.

    Of several brokers it takes one by chance, and waits for no other where that one stands still: so each is tried.
    """
    options = _options_of_admin(settings)
    servers: list[str] = options.get("bootstrap_servers", [])
    for server in random.sample(servers, len(servers)) if len(servers) > 1 else ():
        made, _ = _attempt(KafkaAdminClient, options | {"bootstrap_servers": [server]}, 2 * NEXT_ONE_MS / 1000)
        if made is not None:
            return made
    return connect(settings, KafkaAdminClient)


def _options_of_admin(settings: Settings) -> dict[str, Any]:
    """Return the options by which one of several brokers is asked; none where the settings have an error."""
    soon = {"bootstrap_timeout_ms": NEXT_ONE_MS, "request_timeout_ms": ANSWER_MS}
    try:
        return kafka_options(settings) | soon | handed_on(settings, KafkaAdminClient.DEFAULT_CONFIG)
    except SettingsError:
        return {}


def ask(settings: Settings, question: Callable[[Any], T], what: str) -> T:
    """Return what the brokers answer an admin client; a question that changes nothing, as it may be asked again.

    It is, over a new connection, where one breaks or a broker is just being elected. Raises ``ClientError``: the
    brokers do not ``what``.
    """
    deadline = time.monotonic() + ASK_AGAIN_S
    while True:
        admin = connect_admin(settings)
        try:
            return question(admin)
        except KafkaError as exc:
            if not exc.retriable or time.monotonic() > deadline:
                raise ClientError(f"the brokers at {settings.bootstrap_servers} do not {what}: {exc}") from exc
        finally:
            admin.close()
        time.sleep(POLL_MS / 1000)


def require_operation(settings: Settings, topics: Collection[str], operation: str) -> None:
    """Raise ``ClientError`` if this client may not do the operation with one of the topics."""
    require_rights_on(settings, dict.fromkeys(topics, (operation,)))


def require_rights_on(
    settings: Settings,
    needed: Mapping[str, Collection[str]],
    beside: Callable[[Any], list[Lacking]] = lambda admin: [],
) -> None:
    """Raise ``ClientError`` if this client lacks one of the operations ``needed`` by topic.

    ``beside`` asks through the same connection what else is lacking.
    """

    def lacking_rights(admin: Any) -> list[Lacking]:
        return lacking_on_topics(admin.describe_topics(list(needed)), needed) + beside(admin)

    lacking = ask(settings, lacking_rights, "tell their topics")
    if lacking:
        raise ClientError(told(lacking, settings))


def missing_topics(settings: Settings, wanted: Collection[str], patience_s: float = 0.0) -> list[str]:
    """Return which of these topics (full names) the cluster lacks, without creating them by asking.

    Brokers list a new topic only after a while: give some patience after creating.
    """
    deadline = time.monotonic() + patience_s

    def missing(admin: Any) -> list[str]:
        while True:
            existing = set(admin.list_topics())
            lacking = [name for name in wanted if name not in existing]
            if not lacking or time.monotonic() > deadline:
                return lacking
            time.sleep(POLL_MS / 1000)

    return ask(settings, missing, "list their topics")


def require_topics(settings: Settings, wanted: Collection[str], operation: str) -> None:
    """Raise ``ClientError`` if a topic is missing, or this client may not do the operation (``rights.py``) with it."""
    require_operation(settings, wanted, operation)
    missing = missing_topics(settings, wanted, NEW_TOPIC_S)
    if missing:
        raise ClientError(
            f"the cluster at {settings.bootstrap_servers} has no topic {', '.join(missing)}; "
            "create it with `rankstream topics create`, or check --topic-prefix"
        )
