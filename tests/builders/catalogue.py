"""Items and catalogues for tests."""

from pathlib import Path
from typing import Any

import msgspec

from rankstream.content.catalogue import Catalogue, publish
from rankstream.content.items import Item
from rankstream.events.action_event import Recorded
from rankstream.features.ids import Id, id_bytes

DAY_MS = 86_400_000
NOW_MS = 1_700_000_000_000


def an_item(item_id: Id, **fields: Any) -> Item:
    """Return an item; ``category`` may be written as ``Shoes>Running``."""
    if isinstance(fields.get("category"), str):
        fields["category"] = tuple(fields["category"].split(">"))
    return Item(item_id, **fields)


def a_catalogue(*items: Item, as_of_ms: int = NOW_MS, currency: str | None = None) -> Catalogue:
    """Return a catalogue in memory."""
    return Catalogue.of(items, as_of_ms, currency)


def published(root: Path, *items: Item, as_of_ms: int = NOW_MS, keep: int = 5) -> Catalogue:
    """Publish a catalogue and return it as it is opened."""
    return Catalogue.open_version(publish(root, a_catalogue(*items, as_of_ms=as_of_ms), keep))


def an_update(item: Item | Id, offset: int = 0, partition: int = 0, at_ms: int = NOW_MS) -> Recorded:
    """Return the record of an item, or the tombstone of an id."""
    item_id = item.id if isinstance(item, Item) else item
    value = msgspec.json.encode(item) if isinstance(item, Item) else None
    return Recorded("item-updates", partition, offset, at_ms, id_bytes(item_id), value)
