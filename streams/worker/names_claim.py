"""Whose new names come first where bundles with different ones are deployed at the same moment.

New names are looked for in the changelog before they are admitted, but stand there only after the next checkpoint: two
workers that look at the same moment both find nothing, write states in which one code has two names, and no worker can
be heir to both. So who adds names claims them before::

    open the producer that all claims of the group share    from now on brokers refuse who opened it before
    read what was claimed last, and the changelog's names   no claim can be made after this look but by this worker
    compare, and claim: one transaction                     refused: somebody else looked since, so begin again

A claim is the metadata of the group's offset of the changelog's first partition, where nobody commits another. That
offset lies behind all records, so that no lag is seen there. It goes with the changelog, and says of which one it is.
"""

import asyncio
import logging
import random
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from itertools import count
from zlib import compress, decompressobj
from zlib import error as ZlibError

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from faust.types import TP

from rankstream.features.decoding import UNREADABLE
from rankstream.streams.clients.rights import is_denial
from rankstream.streams.settings import Settings
from rankstream.streams.topics import CHANGELOG, TopicNames
from rankstream.streams.worker.fence import Fence, FencedError
from rankstream.streams.worker.limits import Limits
from rankstream.streams.worker.offsets import offsets_of_group
from rankstream.streams.worker.source import source_of
from rankstream.streams.worker.vocabulary_guard import NO_NAMES, Names

LARGEST = 4_096  # bytes of metadata that brokers take (offset.metadata.max.bytes)
LONGEST = 1 << 20  # bytes of names
NO_LAG = 1 << 62
PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
TURNS = 6  # in which brokers may fail
Decide = Callable[[Names], Awaitable[Names]]  # from what was claimed last to what is to be claimed; may refuse

log = logging.getLogger(__name__)


class Claim(msgspec.Struct, frozen=True):
    """Names that states may have codes of from now on."""

    log_id: str  # of the changelog
    names: Names


async def claim(settings: Settings, decide: Decide) -> None:
    """Claim what ``decide`` returns, while nobody else does. Raises what it raises, and what a fence does."""
    log_tp = TP(TopicNames(settings.topic_prefix).of(CHANGELOG), 0)
    log_id = (await source_of(settings, log_tp.topic)).topic_id
    for turn in count():
        claimed = await _claimed(settings, log_tp, log_id)
        if await decide(claimed) == claimed:
            return  # as mostly: another worker was given the same bundle
        fence = Fence(settings, Limits(settings), "names")
        try:
            await fence.open()
            claimed = await _claimed(settings, log_tp, log_id)
            packed = pack(Claim(log_id, await decide(claimed)))
            if len(packed) > LARGEST:
                log.warning("the names of this bundle take too much room to be claimed: deploy no two bundles at once")
                return
            async with fence.transaction({log_tp: (NO_LAG, packed)}):
                pass
            return
        except (FencedError, KafkaError) as exc:  # brokers may call it unknown where somebody comes between
            if isinstance(exc, KafkaError) and (is_denial(exc) or turn >= TURNS):
                raise
        finally:
            await fence.close(flush=False)
        # by chance, or two would go on refusing each other
        await asyncio.sleep(random.uniform(0.0, min(LONGEST_PAUSE_S, PAUSE_S * 2**turn)))


async def _claimed(settings: Settings, log_tp: TP, log_id: str) -> Names:
    """Return what was claimed last for this changelog."""
    kafka_tp = TopicPartition(*log_tp)
    found = (await offsets_of_group(settings, [kafka_tp])).get(kafka_tp)
    last = unpack(None if found is None else found.metadata)
    return NO_NAMES if last is None or last.log_id != log_id else last.names


def pack(what: Claim) -> str:
    """Return a claim as the metadata of an offset."""
    return b64encode(compress(msgspec.json.encode(what), 9)).decode()


def unpack(metadata: str | None) -> Claim | None:
    """Return the claim in the metadata of an offset; None for any other."""
    try:
        return msgspec.json.decode(decompressobj().decompress(b64decode(metadata or ""), LONGEST), type=Claim)
    except (ValueError, ZlibError, *UNREADABLE):
        return None
