"""The JSON record of what a user was shown, one list: its fields and limits, and why one is rejected."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta, Struct

from rankstream.events.action_event import (
    Name,
    Record,
    TimeMs,
    WireId,
    check_time,
    decoded,
    wrong_key,
)
from rankstream.events.arrivals import Arrivals, LogError
from rankstream.events.impressions import Impressions, grouped, list_keys_of
from rankstream.features.actions import Vocabulary
from rankstream.features.ids import Id, id_bytes

MAX_LIST_ITEMS = 5_000
MAX_LIST_BYTES = 2 * 1024 * 1024


class ImpressionEvent(Struct, frozen=True, omit_defaults=True):
    """One list that a user was shown. Topic impressions, keyed by the text of user_id in UTF-8."""

    list_id: Annotated[WireId, Meta(description="of the list: a page, or a feed's request_id")]
    user_id: WireId
    item_ids: Annotated[
        tuple[WireId, ...],
        Meta(min_length=1, max_length=MAX_LIST_ITEMS, description="in the order that they were shown in"),
    ]
    timestamp_ms: TimeMs
    surface: Annotated[Name, Meta(description="where it was shown")] | None = None


_decode: Callable[[bytes], ImpressionEvent] = msgspec.json.Decoder(ImpressionEvent).decode


def decode_impressions(record: Record, now_ms: int | None = None) -> ImpressionEvent:
    """Return the list of a record. Raises ``Rejected``.

    ``now_ms`` stands for the time of a record that has none; one without a key may be of any user.
    """
    event = decoded(record.value, _decode, MAX_LIST_BYTES, "a list of impressions")
    check_record(record, event.user_id, "timestamp_ms", event.timestamp_ms, now_ms)
    return event


def check_record(record: Record, user_id: Id, name: str, at_ms: int, now_ms: int | None) -> None:
    """Raise ``Rejected`` where the key of a record is another user's, or its time can't be meant."""
    if record.key is not None and record.key != id_bytes(user_id):
        raise wrong_key(record, user_id)
    check_time(name, at_ms, record.timestamp if record.timestamp >= 0 else now_ms)


@dataclass(frozen=True)
class ShownLists:
    """Lists as records, oldest first."""

    events: list[ImpressionEvent]
    unordered: int  # lists of items whose order is not known: no positions, and one time


def impression_events(batches: Iterable[Arrivals], vocabulary: Vocabulary) -> ShownLists:
    """Return rows of impressions as lists. A list without an id gets one, the same whenever it is sent.

    Raises ``LogError`` for a list of more items than a record may name.
    """
    ids: dict[int, Id] = {}
    shown, given = grouped(_noting_ids(batches, ids)), Counter[str]()
    lists = [shown.lists(slice(row, row + 1)) for row in range(len(shown))]
    return ShownLists([_event_of(one, ids, given, vocabulary) for one in lists], sum(map(_is_unordered, lists)))


def _noting_ids(batches: Iterable[Arrivals], ids: dict[int, Id]) -> Iterator[Arrivals]:
    """Yield the batches, and note the id that each key of a list is of."""
    for batch in batches:
        pairs = zip(list_keys_of(batch).tolist(), batch.list_ids or [], strict=False)
        ids.update((key, name) for key, name in pairs if name is not None)
        yield batch


def _event_of(one: Impressions, ids: Mapping[int, Id], given: Counter[str], vocabulary: Vocabulary) -> ImpressionEvent:
    """Return the one list as its record; ``given`` counts the ids that lists without one got."""
    user_id, at_ms, items = one.user_ids.tolist()[0], int(one.times_ms[0]), tuple(one.item_ids.tolist())
    surface = (None, *vocabulary.surfaces)[int(one.surfaces[0])]
    if len(items) > MAX_LIST_ITEMS:
        raise LogError(
            f"user {user_id} was shown {len(items):,} items in one list; a record names at most {MAX_LIST_ITEMS:,}: "
            "say which rows are one list with a column list_id"
        )
    list_id = ids.get(int(one.list_keys[0]))
    if list_id is None:
        content = _digest(user_id, at_ms, surface, *items)
        given[content] += 1
        list_id = content if given[content] == 1 else _digest(content, given[content])
    return ImpressionEvent(list_id, user_id, items, at_ms, surface)


def _digest(*parts: object) -> str:
    return blake2b("\0".join(map(str, parts)).encode(), digest_size=12).hexdigest()


def _is_unordered(one: Impressions) -> bool:
    return bool((one.positions < 0).any()) and len(np.unique(one.shown_ms)) < len(one.item_ids)
