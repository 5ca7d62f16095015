"""What a worker keeps for itself: user states, the changelog, positions, offsets in hand, skips."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from faust.types import TP

from fuzz.law import Target, same
from rankstream.features.actions import VocabularyRefusedError
from rankstream.features.join import join, match_user
from rankstream.features.stores.memory import MemoryStore
from rankstream.features.stores.rocksdb import POSITION, POSITION_BYTES
from rankstream.features.user_state import CorruptStateError, UserState, unpack_state
from rankstream.streams import skips
from rankstream.streams.worker import source
from rankstream.streams.worker.changelog import RestoreJob
from rankstream.streams.worker.in_hand import InHand
from rankstream.streams.worker.logged_states import RestoreError
from rankstream.streams.worker.offsets import Bounds
from rankstream.streams.worker.vocabulary_guard import FILE, keep_vocabulary
from tests.builders.actions import (
    MORNING_MS,
    VOCABULARY,
    ARecord,
    MixingSessions,
    SomeLiveRanker,
    a_state,
    an_action,
    an_erasure,
)

LIMIT = 4
OFFLINE = SomeLiveRanker(MixingSessions()).current.offline
LOG = TP("user-state-changelog", 0)


def _states() -> list[bytes]:
    """Return states without an action, with a few, with sessions that left, with a mark, and one of format 1."""
    many = a_state(*(an_action("abcde"[at % 5], 2_000 * at) for at in range(9)), limit=LIMIT)
    folded = UserState(many.history, many.tail.folded(7, np.ones(4, np.float32)), 8, 9, many.departed)
    old = a_state(an_action()).pack()
    marked = a_state(an_erasure(), *(an_action("abcde"[at % 5], 2_000 * at) for at in range(1, 9)), limit=LIMIT)
    return [
        marked.pack(),
        UserState().pack(),
        a_state(an_action()).pack(),
        many.pack(),
        folded.pack(),
        b"\x01" + old[1:],
    ]


def _state(data: bytes) -> None:
    """Pack what was unpacked to the same state, apply an action to it, and join it for a ranking."""
    state = unpack_state(data, LIMIT)
    same(unpack_state(state.pack(), LIMIT), state)
    applied = state.apply([an_action("z", 5)], 5).state
    same(unpack_state(applied.pack(), LIMIT), applied)
    matches = match_user(state, 7, MORNING_MS, OFFLINE)
    join(matches, matches.user.excluded, OFFLINE)


@dataclass(frozen=True)
class _LogRecord:
    """A record of the changelog, with headers as aiokafka has them."""

    value: bytes | None
    key: bytes | None
    offset: int
    headers: tuple[tuple[str, bytes], ...] = ()
    topic: str = LOG.topic
    partition: int = 0
    timestamp: int = MORNING_MS


def _changelog(data: bytes) -> None:
    """Restore a state, a position and a header, whatever they hold."""
    job = RestoreJob(LOG, MemoryStore(), Bounds(0, 3))
    header = data[:64] if crc32(data) % 2 else source.Source("id", 3).packed()
    records = [
        _LogRecord(data, b"u1", 0),
        _LogRecord(data, POSITION, 1, ((source.HEADER, header),)),
        _LogRecord(data or None, data[:9] or None, 2),
    ]
    job.apply(records)
    job.finish()
    source.unpacked(job.source)
    if job.store.next_offset is not None:
        job.store.next_offset.to_bytes(POSITION_BYTES, "little")  # as the store on disk does


def _source(data: bytes) -> None:
    found = source.unpacked(data)
    same(source.unpacked(found.packed()), found)


def _skip(data: bytes) -> None:
    found = skips.unpacked(data.decode(errors="replace"))
    same(skips.unpacked(skips.packed(found)), found)


def _in_hand(data: bytes) -> None:
    """Take over whatever a file holds, cut records in parts by it, and take it over again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "in-hand")
        path.write_bytes(data)
        for _ in range(2):
            held = InHand(path, "p0", 5)
            records = [ARecord(b"{}", offset=at) for at in range(4)]
            parts = [one for part in held.parts(records, 2) for one in part]
            held.close()
            same(parts, records)


def _vocabulary(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, FILE).write_bytes(data)
        keep_vocabulary(Path(folder), VOCABULARY)


def targets() -> list[Target]:
    """Return the targets."""
    in_hand = b"".join(number.to_bytes(8, "little") for number in (100, 101, 0, 0, 100, 1, 1, 9))
    return [
        Target("state", _states(), _state, (CorruptStateError,)),
        Target("changelog", [*_states(), (5).to_bytes(8, "little")], _changelog, (RestoreError,)),
        Target("source", [source.Source("id", 3, 5, 6).packed()], _source, ()),
        Target("skip", [b"skip 5..9", b""], _skip, ()),
        Target("in-hand", [in_hand, b""], _in_hand, ()),
        Target(
            "vocabulary", [b'{"actions":["view","click","save","hide"],"surfaces":["home"]}'], _vocabulary,
            (VocabularyRefusedError,),
        ),
    ]  # fmt: skip
