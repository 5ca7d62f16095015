"""What kernels know of bytes that are defined elsewhere: sizes, limits and the columns of a slot."""

from rankstream.events.action_event import MAX_ACTION_BYTES, MAX_AHEAD_MS, MIN_TIME_MS
from rankstream.features.actions import ACTION_BYTES, ERASURE, MAX_TIME_MS
from rankstream.features.counters import COUNTER_BYTES
from rankstream.features.ids import HASHED, MAX_ID_BYTES
from rankstream.features.schema import COUNTED_TYPES
from rankstream.features.sessions import MAX_SESSION_ITEMS, SESSION_GAP_MS, TAIL
from rankstream.features.user_state import FORMAT, HEAD, MARK, MAX_TOTAL, NEVER, NO_OFFSET, WITH_MARK, WITHOUT_COUNTERS

OK, SLOW, SKIP = 0, 1, 2  # of a record: decoded, for the plain decoder, not to be applied

# The columns of a slot: what is known of one user besides actions, items, counters and the recurrent state.
NEWEST = 0  # row of the ring with the newest action; older ones follow, round its end
COUNT = 1  # actions in the ring
OFFSET = 2  # of the last action applied
TOTAL = 3  # actions ever applied
CHANGED = 4  # since the last checkpoint
ITEMS = 5  # of the session tail
LAST_MS = 6  # when the last departed action occurred
TAG = 7  # of the encoder that made the recurrent state
STATE_BYTES = 8  # of the recurrent state
TURN = 9  # the last chunk that had an action of the user
FORGOTTEN_MS = 10  # what was done up to then is forgotten
COLUMNS = 11

HEAD_BYTES, MARK_BYTES, TAIL_BYTES = HEAD.size, MARK.size, TAIL.size
MOST_BYTES_BUT_ACTIONS = (
    HEAD_BYTES + MARK_BYTES + 1 + COUNTER_BYTES * COUNTED_TYPES + TAIL_BYTES + 8 * MAX_SESSION_ITEMS
)

# Kernels are compiled with these values, so a cache of machine code is good for them alone.
BAKED_IN = (
    MAX_ACTION_BYTES, MAX_AHEAD_MS, MIN_TIME_MS, ACTION_BYTES, MAX_TIME_MS, COUNTER_BYTES, HASHED, MAX_ID_BYTES,
    COUNTED_TYPES, MAX_SESSION_ITEMS, SESSION_GAP_MS, TAIL.format, FORMAT, HEAD.format, MAX_TOTAL, NO_OFFSET,
    WITHOUT_COUNTERS, WITH_MARK, MARK.format, NEVER, ERASURE,
)  # fmt: skip
