"""The schema registry, asked over HTTP: Confluent's, and those that answer as it does (Karapace, Apicurio, Redpanda).

Ids are never given to another schema, so what was answered once stays true. Nothing here retries: who asks knows
whether to wait. A registry that is away, refuses, or answers something else is no fault of the record that asks for it;
only its own "there is no such schema" is.
"""

import ssl
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from rankstream.features.decoding import UNREADABLE
from rankstream.streams.framed.avro_bounds import UnusableSchemaError
from rankstream.streams.setting_fields import SettingsError
from rankstream.streams.settings import Settings

TIMEOUT_S = 5.0  # to connect, and for each part of an answer
MAX_ANSWER_BYTES = 4 << 20
MAX_REFERENCES = 100  # of a schema, those of its references counted
MISSING_CODES = (40401, 40402, 40403)  # no such subject, version, schema: the registry's own, behind HTTP's 404
AVRO, PROTOBUF, JSON = KINDS = ("AVRO", "PROTOBUF", "JSON")
ACCEPT = "application/vnd.schemaregistry.v1+json, application/json"


class RegistryAwayError(Exception):
    """There is no answer to go by; the message says which registry, and what came instead."""


class MissingSchemaError(Exception):
    """The registry says that it has no such schema."""


class Reference(msgspec.Struct, frozen=True):
    """Another schema that one is made with; it goes by ``name`` there."""

    name: str
    subject: str
    version: int


class Answer(msgspec.Struct, frozen=True, rename="camel"):
    """What a registry answers about a schema; what else it says is passed over."""

    schema: str
    schema_type: str = AVRO  # which is left out
    references: tuple[Reference, ...] = ()


class _Refusal(msgspec.Struct):
    error_code: int = 0


@dataclass(frozen=True)
class Schema:
    """A registered schema with all that it refers to, each before those that refer to it."""

    kind: str
    text: str
    references: Mapping[str, str] = field(default_factory=dict)  # name -> text


class Registry:
    """Asks for schemas; any thread may."""

    def __init__(self, settings: Settings) -> None:
        """Read whom to trust. Raises ``SettingsError`` for a file of authorities that can't be used."""
        self.urls = tuple(one.strip().rstrip("/") for one in settings.schema_registry.split(","))
        self._headers = {"Accept": ACCEPT} | _authorization(settings)
        self._trust = _trust(settings.schema_registry_cafile)

    def schema(self, schema_id: int) -> Schema:
        """Return a schema with what it refers to.

        Raises ``RegistryAwayError``, ``MissingSchemaError``, ``UnusableSchemaError``.
        """
        path = f"/schemas/ids/{schema_id}"
        answer = self._answer(path)
        if answer.schema_type == PROTOBUF:
            answer = self._answer(f"{path}?format=serialized")
        found: dict[str, str] = {}
        self._collect(answer, found)
        return Schema(answer.schema_type, answer.schema, found)

    def _collect(self, answer: Answer, found: dict[str, str]) -> None:
        for one in answer.references:
            if one.name in found:
                continue
            if len(found) >= MAX_REFERENCES:
                raise UnusableSchemaError(f"it refers to more than {MAX_REFERENCES} others")
            found[one.name] = ""  # so that a circle ends
            path = f"/subjects/{quote(one.subject, safe='')}/versions/{one.version}"
            referred = self._answer(f"{path}?format=serialized" if answer.schema_type == PROTOBUF else path)
            self._collect(referred, found)
            del found[one.name]  # behind what it refers to itself
            found[one.name] = referred.schema

    def _answer(self, path: str) -> Answer:
        """Return what the first registry that answers says. Raises ``RegistryAwayError``, ``MissingSchemaError``."""
        for url in self.urls:
            try:
                return self._ask(url, path)
            except RegistryAwayError as exc:
                away = exc
        raise away

    def _ask(self, url: str, path: str) -> Answer:
        try:
            status, body = self._get(url, path)
        except (OSError, HTTPException) as exc:
            raise RegistryAwayError(f"{url} does not answer: {type(exc).__name__}: {exc}") from None
        if status == 404 and _code_of(body) in MISSING_CODES:
            raise MissingSchemaError(f"{url} has no such schema ({path})")
        if status in (401, 403):
            raise RegistryAwayError(
                f"{url} refuses (HTTP {status}): it wants another schema_registry_user and _password, or _token"
            )
        if status != 200:
            raise RegistryAwayError(f"{url}{path} is answered by HTTP {status}: is schema_registry the registry's URL?")
        try:
            return msgspec.json.decode(body, type=Answer)
        except UNREADABLE as exc:
            raise RegistryAwayError(f"{url}{path} is answered by what is no schema: {exc}") from None

    def _get(self, url: str, path: str) -> tuple[int, bytes]:
        parts = urlsplit(url)
        connection = (
            HTTPSConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S, context=self._trust)
            if parts.scheme == "https"
            else HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
        )
        try:
            connection.request("GET", parts.path + path, headers=self._headers)
            answer = connection.getresponse()
            body = answer.read(MAX_ANSWER_BYTES + 1)
        finally:
            connection.close()
        if len(body) > MAX_ANSWER_BYTES:
            raise HTTPException(f"an answer of more than {MAX_ANSWER_BYTES:,} bytes")
        return answer.status, body


def _trust(authorities: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if authorities is None else str(authorities))
    except (OSError, ssl.SSLError) as exc:
        raise SettingsError(
            f"schema_registry_cafile {authorities} can't be used ({exc.strerror or exc}); wanted a PEM file"
        ) from exc


def _authorization(settings: Settings) -> dict[str, str]:
    if settings.schema_registry_token:
        return {"Authorization": f"Bearer {settings.schema_registry_token}"}
    if settings.schema_registry_user:
        pair = f"{settings.schema_registry_user}:{settings.schema_registry_password or ''}"
        return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
    return {}


def _code_of(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body, type=_Refusal).error_code
    except UNREADABLE:
        return 0
