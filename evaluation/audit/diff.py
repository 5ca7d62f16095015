"""What differs between an answer as it was served and the same answer recomputed."""

from collections.abc import Iterator
from dataclasses import dataclass

from rankstream.features.ids import Id
from rankstream.ranking.request import FeedItem
from rankstream.streams.codec import ServedFeatures

STATE, FEATURES, SCORES, ORDER, ITEMS = "state", "features", "scores", "order", "items"
APART = {"features", "items", "state_actions"}  # compared in a way of their own


@dataclass(frozen=True)
class Difference:
    """One answer that the log does not reproduce."""

    request_id: Id
    user_id: Id
    partition: int
    request_offset: int
    state_offset: int
    fields: tuple[str, ...]  # of state, features, scores, order, answer, and fields of the record
    largest: float  # difference of a score or a probability
    message: str


def compare(served: ServedFeatures, computed: ServedFeatures, tolerance: float) -> tuple[tuple[str, ...], float]:
    """Return what differs, and the largest difference of a score or a probability of an item that both have.

    With a tolerance above 0 other bytes of features are no difference by themselves: another processor rounds the
    session vector otherwise.
    """
    largest = max(_differences(served.items, computed.items), default=0.0)
    fields = [name for name in served.__struct_fields__ if name not in APART and _differ(served, computed, name)]
    if served.state_actions != computed.state_actions:
        fields.append(STATE)
    if served.features != computed.features and not tolerance:
        fields.append(FEATURES)
    if largest > tolerance:
        fields.append(SCORES)
    if not _same_order(served.items, computed.items, tolerance):
        fields.append(ORDER)
    if not fields and not tolerance and served.items != computed.items:
        fields.append(ITEMS)
    return tuple(fields), largest


def _differ(served: ServedFeatures, computed: ServedFeatures, name: str) -> bool:
    return bool(getattr(served, name) != getattr(computed, name))


def _differences(served: list[FeedItem], computed: list[FeedItem]) -> Iterator[float]:
    """Yield the difference of each number of the items that both have; infinite where one has other heads."""
    others = {str(item.item_id): item for item in computed}
    for item in served:
        other = others.get(str(item.item_id))
        if other is not None:
            yield abs(item.score - other.score)
            if item.probabilities.keys() != other.probabilities.keys():
                yield float("inf")
            else:
                yield from (abs(value - other.probabilities[head]) for head, value in item.probabilities.items())


def _same_order(served: list[FeedItem], computed: list[FeedItem], tolerance: float) -> bool:
    """Compare rank by rank; within a tolerance, items whose scores are that near may have swapped ranks."""
    if len(served) != len(computed):
        return False
    return all(
        one.item_id == other.item_id or (tolerance > 0 and abs(one.score - other.score) <= tolerance)
        for one, other in zip(served, computed, strict=True)
    )


def in_words(served: ServedFeatures, computed: ServedFeatures, fields: tuple[str, ...], largest: float) -> str:
    """Return what differs in a sentence."""
    parts = []
    if STATE in fields:
        parts.append(f"{served.state_actions} actions known when served, {computed.state_actions} in the log")
    if SCORES in fields:
        parts.append(f"scores differ by up to {largest:.3g}")
    if ORDER in fields:
        pairs = zip(served.items, computed.items, strict=False)
        rank = next((n for n, (one, other) in enumerate(pairs, start=1) if one.item_id != other.item_id), None)
        parts.append("feeds of other lengths" if rank is None else f"orders differ from rank {rank} on")
    other = [name for name in fields if name not in (STATE, FEATURES, SCORES, ORDER, ITEMS)]
    parts += [f"{name} is {getattr(served, name)!r}, computed {getattr(computed, name)!r}" for name in other]
    return "; ".join(parts) or f"the {fields[0]} differ, the scores do not"


def difference_of(served: ServedFeatures, fields: tuple[str, ...], message: str, largest: float = 0.0) -> Difference:
    """Name an answer that differs."""
    return Difference(
        served.request_id,
        served.user_id,
        served.partition,
        served.offset,
        served.state_offset,
        fields,
        largest,
        message,
    )
