"""One user's records of user-actions: what ids were called, where they lie, and what came too late to be known."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from rankstream.evaluation.audit.explanation import MissedAction
from rankstream.evaluation.point_in_time import PastPartition
from rankstream.events.action_event import ActionDecoder, ActionEvent, Record, Rejected
from rankstream.features.actions import IDENTITY_BYTES, Vocabulary
from rankstream.features.ids import Id, id_bytes
from rankstream.streams.codec import ServedFeatures

MISSED_WITHIN_MS = 10 * 60_000  # records that came later after the request are not looked for

_decode = msgspec.json.Decoder(ActionEvent).decode


@dataclass(frozen=True)
class Origin:
    """Where an action of a history came from."""

    item_id: Id
    offset: int
    arrived_ms: int  # from when it happened to when it was in Kafka


@dataclass
class Theirs:
    """What the user's records tell beside the state."""

    first: int | None = None  # offset that the log of the partition begins at
    origins: dict[bytes, Origin] = field(default_factory=dict)  # by the action's identity, see features.actions
    missed: list[MissedAction] = field(default_factory=list)


def read_theirs(
    actions: Iterable[Record], told: ServedFeatures, asked_ms: int, vocabulary: Vocabulary, past: PastPartition
) -> Theirs:
    """Bring ``past`` to the state that was served, and gather the user's records up to then and shortly after."""
    theirs, decode, key = Theirs(), ActionDecoder(vocabulary), id_bytes(told.user_id)
    for record in actions:
        if record.partition != told.partition:
            continue
        theirs.first = record.offset if theirs.first is None else theirs.first
        if record.offset > told.state_offset and record.timestamp > asked_ms + MISSED_WITHIN_MS:
            break
        if record.offset <= told.state_offset:
            past.take(record)
        if record.key == key:
            _gather(theirs, record, decode, told)
    return theirs


def _gather(theirs: Theirs, record: Record, decode: ActionDecoder, told: ServedFeatures) -> None:
    try:
        packed = decode(record)
    except Rejected:
        return  # a dead letter: it never reached the state
    event = _decode(record.value or b"")
    arrived_ms = record.timestamp - event.timestamp_ms
    if record.offset <= told.state_offset:
        theirs.origins.setdefault(packed[:IDENTITY_BYTES], Origin(event.item_id, record.offset, arrived_ms))
    elif event.timestamp_ms <= told.at_ms:
        missed = MissedAction(event.item_id, event.action, event.timestamp_ms, record.offset, arrived_ms)
        theirs.missed.append(missed)
