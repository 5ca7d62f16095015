"""``Pipeline`` whose actions are applied by kernels: the same states, counters and dead letters, to the byte.

What the common case is not goes the plain way, in order: a record that the kernel has not decoded to ``ActionDecoder``,
a user that no slot can hold to ``UserState.apply``, a session that ended to ``fold_ended``. Requests are the plain
pipeline's altogether.
"""

from collections.abc import Sequence

import numpy as np

from rankstream.events.action_event import Record
from rankstream.events.column import Packed, TextKeys
from rankstream.features.actions import PACKED_WORD, Vocabulary, min_values, words_of_bytes
from rankstream.features.history import Appended
from rankstream.features.user_state import Applied
from rankstream.streams.columns import Ints, RecordColumns, columns_of, headed
from rankstream.streams.compiled.arena import Slots, Words
from rankstream.streams.compiled.histories import (
    ACTIONS,
    DUPLICATES,
    ERASURES,
    EXPIRED,
    FORGOTTEN,
    LATE,
    REDELIVERED,
    TOO_OLD,
)
from rankstream.streams.compiled.json_actions import decode_actions
from rankstream.streams.compiled.key_table import UNKNOWN
from rankstream.streams.compiled.layout import OK, SKIP, SLOW
from rankstream.streams.compiled.users import ArenaUsers
from rankstream.streams.packed_states import Bytes
from rankstream.streams.pipeline import WRONG_PARTITION, Pipeline
from rankstream.streams.records import Outgoing

ROWS_AT_ONCE = 8_192  # of a replay: a user who comes often among them is new once


class CompiledPipeline(Pipeline):
    """A pipeline over ``ArenaUsers``."""

    users: ArenaUsers

    def on_actions(self, records: Sequence[Record]) -> list[Outgoing]:
        """Apply a chunk of user-actions, in order of offset; return the dead letters."""
        if not records:
            return []
        columns = columns_of(records)
        high, low, status, dead_letters = self._decode_columns(columns, records)
        slots, misplaced = self._find_users(columns, status, records)
        self._apply_columns(columns.users, columns.offsets, slots, status, high, low)
        return dead_letters + misplaced

    def apply(self, keys: Sequence[bytes], actions: Sequence[bytes], offsets: Sequence[int] | Ints) -> None:
        """Apply packed actions of the users ``keys``, in ascending order of offset: ``on_actions`` once decoded.

        Columns of a log (``events/column.py``) go to the kernels as they lie.
        """
        users, packed = TextKeys.of(keys), Packed.of(actions)
        slots, status = np.full(len(users), UNKNOWN, np.int32), np.full(len(users), OK, np.uint8)
        for at in range(0, len(users), ROWS_AT_ONCE):
            some = slice(at, at + ROWS_AT_ONCE)
            self._find_or_load(users[some], status[some], slots[some])
        self._apply_columns(users, np.asarray(offsets, np.int64), slots, status, packed.high, packed.low)

    def _find_or_load(self, users: TextKeys, status: Bytes, slots: Slots) -> None:
        """Set the slots of users, those that come for the first time too."""
        if self.users.arena.find(users, status, slots):
            unknown = users[np.flatnonzero(slots == UNKNOWN)]
            self.users.load(self.users.without_object(list(dict.fromkeys(unknown))))
            self.users.arena.find(users, status, slots)

    def _decode_columns(
        self, columns: RecordColumns, records: Sequence[Record]
    ) -> tuple[Words, Words, Bytes, list[Outgoing]]:
        """Return both halves of each packed action ``(n,)``, what to do with it, and the dead letters."""
        count = len(columns)
        high, low, status = np.empty(count, np.uint64), np.empty(count, np.uint64), np.empty(count, np.uint8)
        data = np.frombuffer(columns.data, np.uint8)
        names = self._names()
        slow, ahead = decode_actions(data, columns.spans, columns.times_ms, *names, min_values(), high, low, status)
        self.counters.ahead += ahead
        dead_letters: list[Outgoing] = []
        for row in np.flatnonzero(status == SLOW).tolist() if slow else ():
            letters, decoded = self._decode([headed(records, row)])
            dead_letters += letters
            status[row] = OK if decoded.actions else SKIP
            for action in decoded.actions:
                (high[row],), (low[row],) = words_of_bytes(action)
        return high, low, status, dead_letters

    def _names(self) -> tuple[Bytes, Ints, Bytes, Ints]:
        """Return names of actions and surfaces as bytes one after the other, and where each ends, as of now."""
        if self._names_of is not self._vocabulary_now():
            self._names_of = self._vocabulary
            self._name_bytes = (*_joined(self._vocabulary.actions), *_joined(self._vocabulary.surfaces))
        return self._name_bytes

    def _vocabulary_now(self) -> Vocabulary:
        self._decoder()
        return self._vocabulary

    _names_of: Vocabulary | None = None
    _name_bytes: tuple[Bytes, Ints, Bytes, Ints]

    def _find_users(
        self, columns: RecordColumns, status: Bytes, records: Sequence[Record]
    ) -> tuple[Slots, list[Outgoing]]:
        """Return the slot of each record's user, all of them in memory; and dead letters of what lies elsewhere."""
        arena, slots = self.users.arena, np.full(len(columns), UNKNOWN, np.int32)
        if not arena.find(columns.users, status, slots):
            return slots, []
        rows = np.flatnonzero((slots == UNKNOWN) & (status == OK)).tolist()
        keys = columns.keys(rows)
        new = self.users.without_object(list(dict.fromkeys(keys)))
        wrong = self.wrong_partition(new) if new else {}
        misplaced = [row for row, key in zip(rows, keys, strict=True) if key in wrong] if wrong else []
        status[misplaced] = SKIP
        self.users.load([key for key in new if key not in wrong])
        arena.find(columns.users, status, slots)
        letters = [
            self._dead_letter(headed(records, row), WRONG_PARTITION, wrong[columns.keys([row])[0]]) for row in misplaced
        ]
        return slots, letters

    def _apply_columns(
        self, users: TextKeys, offsets: Ints, slots: Slots, status: Bytes, high: Words, low: Words
    ) -> None:
        counts, ended = self.users.arena.apply(status, slots, offsets, high, low)
        counters = self.counters
        counters.actions += int(counts[ACTIONS])
        counters.late += int(counts[LATE])
        counters.duplicates += int(counts[DUPLICATES])
        counters.too_old += int(counts[TOO_OLD])
        counters.redelivered += int(counts[REDELIVERED])
        counters.erasures += int(counts[ERASURES])
        counters.forgotten += int(counts[FORGOTTEN])
        counters.expired += int(counts[EXPIRED])
        if counts[ERASURES] or counts[EXPIRED]:
            ended = ended[ended[:, 1] > 0]
        if len(ended):
            self._fold_ended(ended)
        if self.users.has_objects:
            rows = np.flatnonzero((slots == UNKNOWN) & (status == OK))
            super().apply(users[rows], Packed(high[rows], low[rows]), offsets[rows])

    def _fold_ended(self, ended: Ints) -> None:
        """Step the recurrent states of users whose sessions ended; without an encoder's state there is none to step."""
        if not self.serving.current.offline.sessions.state_size:
            self.counters.sessions_ended += len(ended)
            return
        sessions: dict[int, list[bytes]] = {}
        for row in ended:
            sessions.setdefault(int(row[0]), []).append(row[2 : 2 + int(row[1])].astype(PACKED_WORD).tobytes())
        keys = [self.users.arena.keys[slot] for slot in sessions]
        states = self.users.get_many(keys)
        self._fold(
            {
                key: Applied(state, Appended(state.history), tuple(items))
                for key, state, items in zip(keys, states, sessions.values(), strict=True)
            }
        )


def _joined(names: Sequence[str]) -> tuple[Bytes, Ints]:
    encoded = [name.encode() for name in names]
    return np.array(bytearray(b"".join(encoded)), np.uint8), np.cumsum([len(one) for one in encoded], dtype=np.int64)
