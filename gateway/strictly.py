"""Decoding that hears of misspelt fields, at no cost where there is none.

A twin of each struct forbids what it does not know, and decodes first; only what it refuses is read as topics are, and
looked at field by field. So a body as it should be is decoded once, as before.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import msgspec
from msgspec import Raw, Struct

from rankstream.events.action_event import Rejected, decoded
from rankstream.events.misspelt import misspelt, names_in, unread_fields
from rankstream.features.decoding import UNREADABLE

UNKNOWN_FIELD = "unknown-field"  # reason

T = TypeVar("T", bound=Struct)


@dataclass(frozen=True)
class Read(Generic[T]):
    """What a body says, and what of it nothing reads."""

    value: T
    unread: tuple[str, ...] = ()  # names of fields


class Strictly(Generic[T]):
    """Reads one kind of value; ``within`` are kinds of objects in it, by field."""

    def __init__(self, kind: type[T], limit: int, what: str, within: Mapping[str, type[Struct]] | None = None) -> None:
        self._kind, self._limit, self._what, self._within = kind, limit, what, within or {}
        inner = [(name, _strict(one, ()) | None, None) for name, one in self._within.items()]
        self._strict: Callable[[bytes], T] = msgspec.json.Decoder(_strict(kind, inner)).decode
        self._lenient: Callable[[bytes], T] = msgspec.json.Decoder(kind).decode

    def __call__(self, body: bytes) -> Read[T]:
        """Return what a body says. Raises ``Rejected``, also for a field that is misspelt."""
        if len(body) <= self._limit:
            try:
                return Read(self._strict(body))
            except UNREADABLE:
                pass  # why, is found out below
        value = decoded(body, self._lenient, self._limit, self._what)
        return Read(value, (*self._unread(self._kind, body, ""), *self._unread_within(body)))

    def _unread_within(self, body: bytes) -> list[str]:
        if not self._within:
            return []
        fields = msgspec.json.decode(body, type=dict[str, Raw])
        given = {name: kind for name, kind in self._within.items() if name in fields}
        return [one for name, kind in given.items() for one in self._unread(kind, bytes(fields[name]), f"{name}.")]

    def _unread(self, kind: type[Struct], value: bytes, path: str) -> list[str]:
        """Return the names that nothing reads. Raises ``Rejected`` for one that is misspelt."""
        given = names_in(value)
        for name, meant in misspelt(kind, given).items():
            raise Rejected(UNKNOWN_FIELD, f"there is no field {path + name!r}: did you mean {path + meant!r}?")
        return [path + name for name in unread_fields(kind, given)]


def _strict(kind: type[T], fields: Sequence[tuple[str, Any, Any]]) -> type[T]:
    """Return the struct with the same fields, that refuses all others."""
    twin = msgspec.defstruct(
        kind.__name__, fields, bases=(kind,), frozen=True, kw_only=True, forbid_unknown_fields=True
    )
    return cast("type[T]", twin)
