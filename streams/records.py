"""Records in memory: those that replay, examples and tests drive a pipeline with, and those that it sends."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

import msgspec

from rankstream.events.action_event import ActionEvent, ErasureEvent, Recorded
from rankstream.features.ids import id_bytes
from rankstream.ranking.request import RankingRequest
from rankstream.streams.tracing import UNTRACED, RequestTrace

_encode = msgspec.json.Encoder().encode


def recorded_actions(events: Iterable[ActionEvent | ErasureEvent], first_offset: int = 0) -> list[Recorded]:
    """Return events as records of one partition, each produced at the time of its action."""
    return [
        Recorded("user-actions", 0, offset, event.timestamp_ms, id_bytes(event.user_id), _encode(event))
        for offset, event in enumerate(events, start=first_offset)
    ]


def recorded_request(request: RankingRequest, offset: int, at_ms: int) -> Recorded:
    """Return a request as a record of one partition, produced at ``at_ms``."""
    return Recorded("ranking-requests", 0, offset, at_ms, id_bytes(request.user_id), _encode(request))


class Channel(Enum):
    """Where an outgoing record goes; ``topics.py`` has the topics' names."""

    FEEDS = "ranked-feeds"
    DEAD_LETTERS = "dead-letters"
    SERVED = "served-features"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to be sent to the same partition number that its cause came from."""

    channel: Channel
    key: bytes | None
    value: bytes
    trace: RequestTrace = field(default=UNTRACED, compare=False)  # of the request that it is sent because of
