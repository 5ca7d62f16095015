"""How two bundles' answers to one request differ."""

from collections.abc import Sequence

from msgspec import Struct

from rankstream.features.ids import Id

TOP = 10


class Outcome(Struct, frozen=True):
    """What one bundle made of a request."""

    items: Sequence[Id] = ()  # best first
    took_ms: float = 0.0
    error: str | None = None  # the reason, where it made nothing of it


class Compared(Struct, frozen=True, array_like=True):
    """How the new bundle's answer differs from that of the one that serves."""

    overlap: float  # share of the TOP best that both have; of all where there are fewer
    correlation: float | None  # Spearman's, of the order of the items that both have; None for fewer than two
    serving_ms: float
    new_ms: float


def compare(serving: Outcome, new: Outcome) -> Compared:
    """Compare two answers."""
    return Compared(
        round(overlap(serving.items, new.items), 4),
        rank_correlation(serving.items, new.items),
        round(serving.took_ms, 3),
        round(new.took_ms, 3),
    )


def overlap(one: Sequence[Id], other: Sequence[Id]) -> float:
    """Return which share of the TOP best items both lists hold, 0 to 1."""
    best, others = set(one[:TOP]), set(other[:TOP])
    return len(best & others) / max(1, len(best), len(others))


def rank_correlation(one: Sequence[Id], other: Sequence[Id]) -> float | None:
    """Return Spearman's rank correlation, -1 to 1, over the items that both lists hold; None for fewer than two."""
    both = set(one) & set(other)
    if len(both) < 2:
        return None
    ranks = {item: rank for rank, item in enumerate(item for item in one if item in both)}
    squares = sum((ranks[item] - rank) ** 2 for rank, item in enumerate(item for item in other if item in both))
    return round(1 - 6 * squares / (len(both) * (len(both) ** 2 - 1)), 4)
