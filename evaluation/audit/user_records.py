"""One user's records of user-actions: what ids were called, where they lie, and which came too late to be known."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from rankstream.evaluation.audit.explanation import MissedAction
from rankstream.evaluation.point_in_time import PartitionStates
from rankstream.events.action_event import ActionDecoder, ActionEvent, Record, Rejected
from rankstream.features.actions import IDENTITY_BYTES, Vocabulary, is_erasure
from rankstream.features.ids import Id, id_bytes
from rankstream.streams.codec import ServedFeatures

MISSED_WITHIN_MS = 10 * 60_000  # records that came later after the request are not looked for

_decode = msgspec.json.Decoder(ActionEvent).decode


@dataclass(frozen=True)
class Origin:
    """Where an action of a history came from."""

    item_id: Id
    offset: int
    arrival_delay_ms: int  # from when it happened to when it was in Kafka


@dataclass
class UserRecords:
    """What the user's records hold beside the state."""

    first: int | None = None  # offset that the log of the partition begins at
    origins: dict[bytes, Origin] = field(default_factory=dict)  # by the action's identity, see features.actions
    missed: list[MissedAction] = field(default_factory=list)


def read_user_records(
    actions: Iterable[Record],
    served: ServedFeatures,
    requested_ms: int,
    vocabulary: Vocabulary,
    states: PartitionStates,
) -> UserRecords:
    """Apply actions up to the state that was served; gather the user's records up to then and shortly after."""
    records, decode, key = UserRecords(), ActionDecoder(vocabulary), id_bytes(served.user_id)
    for record in actions:
        if record.partition != served.partition:
            continue
        records.first = record.offset if records.first is None else records.first
        if record.offset > served.state_offset and record.timestamp > requested_ms + MISSED_WITHIN_MS:
            break
        if record.offset <= served.state_offset:
            states.apply(record)
        if record.key == key:
            _gather(records, record, decode, served)
    return records


def _gather(records: UserRecords, record: Record, decode: ActionDecoder, served: ServedFeatures) -> None:
    try:
        packed = decode(record)
    except Rejected:
        return  # a dead letter: it never reached the state
    if is_erasure(packed):
        return  # no action of a history comes from it
    event = _decode(record.value or b"")
    delay_ms = record.timestamp - event.timestamp_ms
    if record.offset <= served.state_offset:
        records.origins.setdefault(packed[:IDENTITY_BYTES], Origin(event.item_id, record.offset, delay_ms))
    elif event.timestamp_ms <= served.at_ms:
        missed = MissedAction(event.item_id, event.action, event.timestamp_ms, record.offset, delay_ms)
        records.missed.append(missed)
