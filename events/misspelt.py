"""Fields that nothing reads, and which one was meant: ``topk`` for ``top_k``, ``candidate`` for ``candidates``.

On topics a field that this version does not know is let pass, unread: the next version of a producer may be there
before that of its readers. So a misspelt one is no error that a reader sees, it is a limit that does not hold, a filter
that lets all pass. Who may answer, a gateway or a tool, refuses it therefore; a worker says it in its log.

A field was misspelt only where the one that it looks like is not there: a producer's own ``timestamp`` beside
``timestamp_ms`` is its own business.
"""

from collections.abc import Collection, Iterable
from functools import cache, lru_cache
from typing import Any

import msgspec

from rankstream.features.decoding import UNREADABLE

MAX_LOOKED_AT = 32  # names of an object that nothing reads: who makes them up shall not be waited for
MIN_LETTERS = 4  # of two names that may differ by a letter
MAX_LETTERS = 40
OTHER_NAMES = {
    "user_id": ("user", "uid", "customer", "customer_id", "visitor_id", "viewer_id", "account_id"),
    "item_id": ("item", "iid", "product", "product_id", "article_id", "sku", "object_id"),
    "action": ("event", "event_type", "action_type", "verb"),
    "timestamp_ms": ("timestamp", "time", "ts", "time_ms", "event_time", "at", "at_ms"),
    "candidates": ("items", "item_ids", "candidate_ids", "candidate_items", "ids"),
    "limit": ("max_candidates", "num_candidates", "size", "count", "max_results"),
    "top_k": ("k", "n", "top", "top_n", "num_results"),
    "deadline_ms": ("deadline", "timeout", "timeout_ms"),
    "filters": ("filter", "where"),
    "exclude": ("excluded", "exclude_items", "exclude_ids", "excluded_items", "blocklist"),
    "item_ids": ("items", "shown", "impressions"),
    "request_id": ("request", "req_id"),
    "price_min": ("min_price", "price_from"),
    "price_max": ("max_price", "price_to"),
    "category": ("category_path", "categories"),
}


def unread_fields(kind: type, given: Iterable[str]) -> list[str]:
    """Return those of the given names that a struct has no field for, in their order."""
    known = _fields_of(kind)
    return [name for name in given if name not in known]


def misspelt(kind: type, given: Collection[str]) -> dict[str, str]:
    """Return of the given names those that are misspelt, with the field that was meant."""
    unread = unread_fields(kind, given)[:MAX_LOOKED_AT]
    if not unread:
        return {}
    absent = tuple(name for name in _fields_of(kind) if name not in given)
    found = {name: _meant(name, absent) for name in unread if len(name) <= MAX_LETTERS}
    return {name: meant for name, meant in found.items() if meant is not None}


@lru_cache(4096)  # producers send the same names for ever
def _meant(name: str, absent: tuple[str, ...]) -> str | None:
    plain = _plain(name)
    for field in absent:
        if plain in _names_of(field):
            return field
    return next((field for field in absent if _is_near(plain, _plain(field))), None)


@cache
def _names_of(field: str) -> frozenset[str]:
    return frozenset(map(_plain, (field, *OTHER_NAMES.get(field, ()))))


@lru_cache(4096)
def _plain(name: str) -> str:
    """Return a name as it sounds: ``topK``, ``top-k`` and ``TOP_K`` are one."""
    return "".join(filter(str.isalnum, name)).lower()


def _is_near(one: str, other: str) -> bool:
    """Return whether two names differ by one letter, or by two that changed places."""
    short, long = sorted((one, other), key=len)
    if len(short) < MIN_LETTERS or len(long) - len(short) > 1:
        return False
    at = next((at for at, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if len(short) < len(long):
        return short[at:] == long[at + 1 :]
    changed = short[at + 1 : at + 2] + short[at : at + 1] + short[at + 2 :]
    return short[at + 1 :] == long[at + 1 :] or changed == long[at:]


@cache
def _fields_of(kind: type) -> tuple[str, ...]:
    return tuple(one.encode_name for one in msgspec.structs.fields(kind))


def names_in(value: bytes) -> list[str]:
    """Return the names of an object's fields; none of what is no object of JSON."""
    try:
        found: dict[str, Any] = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    except UNREADABLE:
        return []
    return list(found)
