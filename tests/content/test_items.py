from collections.abc import Callable

import pytest

from rankstream.content.items import Item, ItemUpdate, decode_update
from rankstream.events.action_event import Recorded, Rejected
from tests.builders.catalogue import NOW_MS, an_item, an_update


def record(value: bytes | None, key: bytes | None = b"a7") -> Recorded:
    return Recorded("item-updates", 0, 3, NOW_MS, key, value)


def test_a_record_is_what_is_known_of_its_item() -> None:
    item = an_item("a7", title="Trail X", category="Shoes>Running", price=59.9, currency="EUR", created_at_ms=NOW_MS)
    assert decode_update(an_update(item)).item == item


@pytest.mark.parametrize("gone", [an_update("a7"), an_update(an_item("a7", gone=True))])
def test_a_record_without_a_value_or_of_what_is_gone_removes(gone: Recorded) -> None:
    key = decode_update(an_update(an_item("a7"))).key
    assert decode_update(gone) == ItemUpdate(key, None)


def test_an_integer_and_its_text_name_one_item() -> None:
    assert decode_update(an_update("7")).key == decode_update(an_update(an_item(7))).key


@pytest.mark.parametrize(
    ("bad", "reason", "says"),
    [
        (record(b"{"), "not-json", "not JSON"),
        (record(b'{"title": "x"}'), "schema", "`id`"),
        (record(b'{"id": "a7", "price": -1}'), "schema", "price"),
        (record(b'{"id": "a7", "currency": "euro"}'), "schema", "currency"),
        (record(b'{"id": "a7", "category": []}'), "schema", "category"),
        (record(b'{"id": "a7", "created_at_ms": 1700000000}'), "timestamp", "multiply them by 1000"),
        (record(b'{"id": "a7"}', b"a8"), "key-mismatch", "'a7'"),
        (record(None, None), "key-mismatch", "id of the item that is gone"),
        (record(None, b"\xff"), "key-mismatch", "UTF-8"),
        (record(b"x" * 300_000), "too-large", "at most"),
    ],
)
def test_what_can_not_be_understood_is_rejected_with_a_reason(bad: Recorded, reason: str, says: str) -> None:
    with pytest.raises(Rejected, match=says) as rejected:
        decode_update(bad)
    assert rejected.value.reason == reason


def test_every_field_but_the_id_is_optional() -> None:
    read: Callable[[bytes], Item | None] = lambda value: decode_update(record(value)).item  # noqa: E731
    assert read(b'{"id": "a7"}') == Item("a7")
