"""An item as a catalogue and the topic item-updates hold it: its fields and limits, and why one is rejected.

A category is a path of names, not a parent's id, so that no cycle can be: ``["Shoes", "Running", "Trail"]``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from rankstream.events.action_event import (
    RECORDS_TIME,
    Record,
    Rejected,
    TimeMs,
    WireId,
    check_time,
    decoded,
    produced_ms,
)
from rankstream.features.ids import MAX_ID_BYTES, id_bytes, id_key

MAX_ITEM_BYTES = 256 * 1024
MAX_LEVELS = 8  # of a category's path
MAX_COLLECTIONS = 200
KEY_MISMATCH, CURRENCY, COLLISION = "key-mismatch", "currency", "collision"  # reasons

Title = Annotated[str, Meta(min_length=1, max_length=1_000)]
Text = Annotated[str, Meta(max_length=50_000)]
CategoryName = Annotated[str, Meta(min_length=1, max_length=200)]
CategoryPath = Annotated[
    tuple[CategoryName, ...], Meta(min_length=1, max_length=MAX_LEVELS, description="names, the widest first")
]
Price = Annotated[float, Meta(ge=0, le=1e12)]
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$", description="ISO 4217")]


class Item(Struct, frozen=True, omit_defaults=True):
    """What is known of an item. Topic item-updates, keyed by the text of id in UTF-8; a new record replaces the old."""

    id: WireId
    title: Title | None = None
    text: Annotated[Text, Meta(description="what it is, in words")] | None = None
    category: CategoryPath | None = None
    price: Price | None = None
    currency: Currency | None = None  # None: the catalogue's
    picture: Annotated[str, Meta(min_length=1, max_length=2_000, description="path or URL")] | None = None
    group: Annotated[WireId, Meta(description="creator, shop, brand, ...")] | None = None
    collections: Annotated[tuple[WireId, ...], Meta(max_length=MAX_COLLECTIONS)] = ()
    created_at_ms: TimeMs | None = None
    gone: Annotated[bool, Meta(description="true: it can't be had any more, and is removed")] = False


@dataclass(frozen=True, slots=True)
class ItemUpdate:
    """One change: what is known of an item from now on; None: it is gone."""

    key: int  # 64-bit, of the id
    item: Item | None


_decode: Callable[[bytes], Item] = msgspec.json.Decoder(Item).decode


def decode_update(record: Record, now_ms: int | None = None) -> ItemUpdate:
    """Return the change of a record of item-updates; one without a value removes. Raises ``Rejected``.

    ``now_ms`` stands for the time of a record that has none.
    """
    if record.value is None:
        return ItemUpdate(_key_of(record.key), None)
    item = decoded(record.value, _decode, MAX_ITEM_BYTES, "an item")
    if record.key != id_bytes(item.id):
        raise _wrong_key(record.key, f"the id's text {str(item.id)[:64]!r} in UTF-8")
    return update_of(item, produced_ms(record, now_ms))


def update_of(item: Item, known_ms: int | None = None) -> ItemUpdate:
    """Return the change that an item makes, known since ``known_ms``. Raises ``Rejected`` for times not meant."""
    if item.created_at_ms is not None:
        check_time("created_at_ms", item.created_at_ms, known_ms, RECORDS_TIME)
    return ItemUpdate(id_key(item.id), None if item.gone else item)


def _key_of(key: bytes | None) -> int:
    """Return the key of an item that a record without a value removes."""
    try:
        text = (key or b"").decode()
    except UnicodeDecodeError:
        text = ""
    if not text or len(text) > MAX_ID_BYTES:
        raise _wrong_key(key, "the id of the item that is gone, in UTF-8")
    return id_key(text)


def _wrong_key(key: bytes | None, wanted: str) -> Rejected:
    came = None if key is None else key[:64]
    return Rejected(KEY_MISMATCH, f"the record's key is {came!r}, but must be {wanted}")
