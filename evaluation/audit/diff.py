"""What differs between an answer as it was served and the same answer computed again."""

from collections.abc import Iterator
from dataclasses import dataclass

from rankstream.features.ids import Id
from rankstream.ranking.request import FeedItem
from rankstream.streams.codec import ServedFeatures

STATE, FEATURES, SCORES, ORDER, ITEMS = "state", "features", "scores", "order", "items"
APART = {"features", "items", "state_actions"}  # compared in a way of their own


@dataclass(frozen=True)
class Difference:
    """One answer that the log does not give back."""

    request_id: Id
    user_id: Id
    partition: int
    request_offset: int
    state_offset: int
    what: tuple[str, ...]  # of state, features, scores, order, answer, and fields of the record
    largest: float  # difference of a score or a probability
    says: str


def compare(told: ServedFeatures, computed: ServedFeatures, tolerance: float) -> tuple[tuple[str, ...], float]:
    """Return what differs, and the largest difference of a score or a probability of an item that both have.

    With a tolerance above 0 other bytes of features are no difference by themselves: another processor rounds the
    session vector otherwise.
    """
    largest = max(_differences(told.items, computed.items), default=0.0)
    what = [name for name in told.__struct_fields__ if name not in APART and _differ(told, computed, name)]
    if told.state_actions != computed.state_actions:
        what.append(STATE)
    if told.features != computed.features and not tolerance:
        what.append(FEATURES)
    if largest > tolerance:
        what.append(SCORES)
    if not _same_order(told.items, computed.items, tolerance):
        what.append(ORDER)
    if not what and not tolerance and told.items != computed.items:
        what.append(ITEMS)
    return tuple(what), largest


def _differ(told: ServedFeatures, computed: ServedFeatures, name: str) -> bool:
    return bool(getattr(told, name) != getattr(computed, name))


def _differences(told: list[FeedItem], computed: list[FeedItem]) -> Iterator[float]:
    """Yield the difference of each number of the items that both have; infinite where one has other heads."""
    others = {str(item.item_id): item for item in computed}
    for item in told:
        other = others.get(str(item.item_id))
        if other is not None:
            yield abs(item.score - other.score)
            if item.probabilities.keys() != other.probabilities.keys():
                yield float("inf")
            else:
                yield from (abs(value - other.probabilities[head]) for head, value in item.probabilities.items())


def _same_order(told: list[FeedItem], computed: list[FeedItem], tolerance: float) -> bool:
    """Compare place by place; within a tolerance, items whose scores are that near may have changed places."""
    if len(told) != len(computed):
        return False
    return all(
        one.item_id == other.item_id or (tolerance > 0 and abs(one.score - other.score) <= tolerance)
        for one, other in zip(told, computed, strict=True)
    )


def in_words(told: ServedFeatures, computed: ServedFeatures, what: tuple[str, ...], largest: float) -> str:
    """Return what differs in a sentence."""
    said = []
    if STATE in what:
        said.append(f"{told.state_actions} actions known when served, {computed.state_actions} in the log")
    if SCORES in what:
        said.append(f"scores differ by up to {largest:.3g}")
    if ORDER in what:
        places = zip(told.items, computed.items, strict=False)
        place = next((n for n, (one, other) in enumerate(places, start=1) if one.item_id != other.item_id), None)
        said.append("feeds of other lengths" if place is None else f"orders differ from place {place} on")
    other = [name for name in what if name not in (STATE, FEATURES, SCORES, ORDER, ITEMS)]
    said += [f"{name} is {getattr(told, name)!r}, computed {getattr(computed, name)!r}" for name in other]
    return "; ".join(said) or f"the {what[0]} differ, the scores do not"


def difference_of(told: ServedFeatures, what: tuple[str, ...], says: str, largest: float = 0.0) -> Difference:
    """Name an answer that differs."""
    return Difference(
        told.request_id, told.user_id, told.partition, told.offset, told.state_offset, what, largest, says
    )
