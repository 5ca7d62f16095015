"""What is sent where an output is larger than its topic takes: knows sizes, no broker.

::

    a feed           -> an error feed of the same request, with both sizes
    a dead letter    -> the same with less of the original's bytes
    served features  -> nothing: the answer can't be verified

So a record of any size that came in can be answered or reported, whatever the limits of the topics are.
"""

from base64 import b64decode, b64encode

import msgspec
from msgspec import UnsetType
from msgspec.structs import replace

from rankstream.events.action_event import TOO_LARGE
from rankstream.features.ids import id_bytes
from rankstream.streams.codec import DeadLetter, RankedFeed, encode_error, variant_of
from rankstream.streams.records import Channel, Outgoing

OVERHEAD_BYTES = 100  # of a batch with one record: 61 of the batch, and lengths, offset and time of the record
HEADER_BYTES = 4  # of a header besides its name and value: their lengths

_encode = msgspec.json.Encoder().encode
_decode_feed = msgspec.json.Decoder(RankedFeed).decode
_decode_dead_letter = msgspec.json.Decoder(DeadLetter).decode


def sent_bytes(outgoing: Outgoing) -> int:
    """Return what a record takes in a batch of its own, at most."""
    return len(outgoing.key or b"") + len(outgoing.value) + _beside(outgoing)


def _beside(outgoing: Outgoing) -> int:
    """Return what it takes besides its key and value, at most."""
    return OVERHEAD_BYTES + sum(len(name) + len(value) + HEADER_BYTES for name, value in outgoing.trace.headers)


def shortened(outgoing: Outgoing, limit: int) -> Outgoing | None:
    """Return what to send instead of a record of more than ``limit`` bytes; None if nothing can stand for it."""
    if outgoing.channel is Channel.FEEDS:
        short = _error_feed(outgoing, limit)
    elif outgoing.channel is Channel.DEAD_LETTERS:
        short = _cut_dead_letter(outgoing, limit)
    else:
        return None
    return short if sent_bytes(short) <= limit else None


def _error_feed(outgoing: Outgoing, limit: int) -> Outgoing:
    feed = _decode_feed(outgoing.value)
    error = feed.error
    if isinstance(error, UnsetType):
        count = 0 if isinstance(feed.items, UnsetType) else len(feed.items)
        reason = TOO_LARGE
        message = (
            f"the feed of {count:,} items takes {sent_bytes(outgoing):,} bytes, but the topic {outgoing.channel.value} "
            f"takes {limit:,} a record: ask for fewer with top_k, or raise the topic's max.message.bytes"
        )
    else:  # only its key can be that large
        reason, message = error.reason, error.message
    value = encode_error(feed.request_id, feed.user_id, reason, message, feed.ranked_at_ms, variant_of(feed))
    return Outgoing(outgoing.channel, id_bytes(feed.user_id), value, outgoing.trace)


def _cut_dead_letter(outgoing: Outgoing, limit: int) -> Outgoing:
    """Cut the original's key to an eighth of the room, as it stands there twice, and its value to what is left."""
    letter = _decode_dead_letter(outgoing.value)
    bare = len(_encode(replace(letter, key_base64=None, value_base64=None))) + _beside(outgoing)
    room = max(0, limit - bare - len('""""') - len(',"key_bytes":') - 20)
    key = None if letter.key_base64 is None else b64decode(letter.key_base64)
    cut_key = None if key is None else key[: room // 8]
    if outgoing.key is not None and cut_key is not None and len(outgoing.key) > len(cut_key):
        letter = replace(letter, key_base64=b64encode(cut_key).decode(), key_bytes=len(outgoing.key))
    room -= len(cut_key or b"") + len(letter.key_base64 or "")
    if letter.value_base64 is not None:
        letter = replace(letter, value_base64=letter.value_base64[: max(0, room // 4 * 4)])
    return Outgoing(outgoing.channel, cut_key, _encode(letter), outgoing.trace)
