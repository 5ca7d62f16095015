"""JSON of an action in the common form -> its 16 bytes, as two numbers; anything else is left to ``ActionDecoder``.

The common form: one object, each field of an action at most once, in any order and with any white space; texts of
printable ASCII without escapes, numbers of digits, ``null`` where there may be none. Fields that are not an action's
are passed over where their values are such. What comes out here is what the plain decoder would give; whether something
is *wrong* is never decided here.
"""

import numpy as np
from numba import float64, int64, uint64

from rankstream.events.action_event import MAX_ACTION_BYTES, MAX_AHEAD_MS, MIN_TIME_MS
from rankstream.features.actions import MAX_TIME_MS
from rankstream.features.ids import MAX_ID_BYTES
from rankstream.streams.compiled.jit import BYTES, FLOATS, INT_ROWS, INTS, READ_ONLY, WORDS, inlined, kernel
from rankstream.streams.compiled.layout import OK, SLOW
from rankstream.streams.compiled.text_keys import MAX_TEXT_BYTES, text_key

MAX_NAME_BYTES = 64  # ``action_event.Name``
MAX_DIGITS, MAX_EXACT_DIGITS = 18, 15  # of a number that 63 bits hold, and of one that a double holds
QUOTE, COMMA, POINT, ZERO, NINE, COLON, BACKSLASH, OPENING, CLOSING = (ord(one) for one in '",.09:\\{}')
NULL = np.frombuffer(b"null", np.uint8)

NAMES = ("user_id", "item_id", "action", "timestamp_ms", "surface", "value", "list_id", "collection_id")
USER, ITEM, ACTION, TIME, SURFACE, VALUE, LIST, COLLECTION = (1 << k for k in range(8))  # bits of fields that were seen
OTHER = 0  # a field that is not an action's
NEEDED = USER | ITEM | ACTION | TIME
NAME_BYTES = np.frombuffer("".join(NAMES).encode(), np.uint8)
NAME_ENDS = np.cumsum([len(name) for name in NAMES])


@inlined
def _is_at(data, at, other, begin, size):
    """Return whether ``size`` bytes of both are the same."""
    for k in range(size):
        if data[at + k] != other[begin + k]:
            return False
    return True


@inlined
def _name_code(data, at, size, names, ends):
    """Return the number of a name in a list, from 1; 0 if it is not there."""
    begin = 0
    for k in range(len(ends)):
        end = ends[k]
        if end - begin == size and _is_at(data, at, names, begin, size):
            return k + 1
        begin = end
    return 0


@inlined
def _past_space(data, at, end):
    while at < end and (data[at] == 32 or data[at] == 10 or data[at] == 13 or data[at] == 9):
        at += 1
    return at


@inlined
def _text_end(data, at, end):
    """Return where a text of printable ASCII without escapes ends; -1 if it is not such."""
    while at < end:
        byte = data[at]
        if byte == QUOTE:
            return at
        if byte == BACKSLASH or byte < 32 or byte > 126:
            return -1
        at += 1
    return -1


@inlined
def _digits(data, at, end):
    """Return the number that digits make, and where they end; -1 there if they are none, or too many."""
    begin, number = at, uint64(0)
    while at < end and ZERO <= data[at] <= NINE:
        number = number * uint64(10) + uint64(data[at] - ZERO)
        at += 1
    size = at - begin
    if size < 1 or size > MAX_DIGITS or (size > 1 and data[begin] == ZERO):
        return number, -1
    return number, at


@inlined
def _value_code(data, at, end, whole, size, least_values):
    """Return the code of a value whose ``size`` whole digits end at ``at``, and where it ends; -1 if not known."""
    number, scale = whole, 1.0
    if at < end and data[at] == POINT:
        begin = at + 1
        at = begin
        while at < end and ZERO <= data[at] <= NINE:
            number = number * uint64(10) + uint64(data[at] - ZERO)
            scale *= 10.0
            at += 1
        size += at - begin
        if at == begin:
            return 0, -1
    if size > MAX_EXACT_DIGITS:  # up to there both are exact, and so their quotient is the nearest double
        return 0, -1
    return np.searchsorted(least_values, float64(number) / scale, side="right"), at


@inlined
def _decode_one(data, span, record_ms, actions, action_ends, surfaces, surface_ends, least_values, high, low, row):
    """Decode one value into ``high[row]`` and ``low[row]``; return whether that was possible."""
    key_at, key_size, at, end = span[0], span[1] - span[0], span[2], span[3]
    if key_at < 0 or at < 0 or record_ms < 0 or key_size > MAX_ID_BYTES or end - at > MAX_ACTION_BYTES:
        return False
    at = _past_space(data, at, end)
    if at >= end or data[at] != OPENING:
        return False
    at = _past_space(data, at + 1, end)
    seen, item, code, at_ms, surface, amount = 0, uint64(0), 0, int64(0), 0, 0
    while True:
        if at >= end or data[at] != QUOTE:
            return False
        name_at = at + 1
        name_end = _text_end(data, name_at, end)
        if name_end < 0:
            return False
        number = _name_code(data, name_at, name_end - name_at, NAME_BYTES, NAME_ENDS)
        field = 1 << (number - 1) if number > 0 else OTHER
        if seen & field:
            return False
        seen |= field
        at = _past_space(data, name_end + 1, end)
        if at >= end or data[at] != COLON:
            return False
        at = _past_space(data, at + 1, end)
        if at >= end:
            return False
        if data[at] == QUOTE:
            begin = at + 1
            stop = _text_end(data, begin, end)
            size = stop - begin
            if stop < 0:
                return False
            if field == USER:
                if size != key_size or size < 1 or not _is_at(data, begin, data, key_at, size):
                    return False
            elif field == ITEM:
                if size < 1 or size > MAX_TEXT_BYTES:
                    return False
                item = text_key(data, begin, size)
            elif field == ACTION:
                code = _name_code(data, begin, size, actions, action_ends)
                if code == 0:
                    return False
            elif field == SURFACE:
                if size < 1 or size > MAX_NAME_BYTES:
                    return False
                surface = _name_code(data, begin, size, surfaces, surface_ends)
            elif field & (LIST | COLLECTION):
                if size < 1 or size > MAX_ID_BYTES:
                    return False
            elif field != OTHER:
                return False
            at = stop + 1
        elif data[at] == NULL[0]:
            if field & NEEDED or end - at < len(NULL) or not _is_at(data, at, NULL, 0, len(NULL)):
                return False
            at += len(NULL)
        else:
            begin = at
            whole, at = _digits(data, at, end)
            if at < 0:
                return False
            if field == USER:
                if at - begin != key_size or not _is_at(data, begin, data, key_at, key_size):
                    return False
            elif field == ITEM:
                item = whole
            elif field == TIME:
                at_ms = int64(whole)
            elif field == VALUE:
                amount, at = _value_code(data, at, end, whole, at - begin, least_values)
                if at < 0:
                    return False
            elif field & ~(LIST | COLLECTION):
                return False
        at = _past_space(data, at, end)
        if at >= end:
            return False
        if data[at] == CLOSING:
            break
        if data[at] != COMMA:
            return False
        at = _past_space(data, at + 1, end)
    if _past_space(data, at + 1, end) != end or (seen & NEEDED) != NEEDED:
        return False
    if at_ms < MIN_TIME_MS or at_ms > MAX_TIME_MS or at_ms > record_ms + MAX_AHEAD_MS:
        return False
    stamp = (uint64(at_ms) << uint64(6)) | uint64(code)
    high[row] = (stamp << uint64(16)) | (item >> uint64(48))
    low[row] = (item << uint64(16)) | (uint64(surface) << uint64(8)) | uint64(amount)
    return True


@kernel(READ_ONLY, INT_ROWS, INTS, BYTES, INTS, BYTES, INTS, FLOATS, WORDS, WORDS, BYTES)
def decode_actions(
    data, spans, times_ms, actions, action_ends, surfaces, surface_ends, least_values, high, low, status
):
    """Decode all values ``(n,)``; return how many were not in the common form, and how many ahead of their records."""
    slow = ahead = 0
    for k in range(len(spans)):
        names = actions, action_ends, surfaces, surface_ends
        if _decode_one(data, spans[k], times_ms[k], *names, least_values, high, low, k):
            status[k] = OK
            ahead += int64(high[k] >> uint64(22)) > times_ms[k]
        else:
            status[k] = SLOW
            slow += 1
    return slow, ahead
