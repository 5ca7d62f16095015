"""Chunks of framed values, and the schemas that they are decoded by: the worker's side of a schema registry.

Schemas that are not known yet are asked for in a thread, while all others go on. A registry that is away loses no
record and letters none: the chunk waits, as for a broker that is away, is read again after a rebalance or a restart,
and ``/ready`` says what it waits for. Values are decoded later, where their records are worked on, so one that kills
the process is found as any other (``in_hand.py``).
"""

import asyncio
import logging
from collections.abc import Callable, Set
from functools import partial
from time import monotonic

from rankstream.streams.framed.reader import Decode, SchemaReader, schema_ids_of
from rankstream.streams.framed.registry import RegistryAwayError
from rankstream.streams.skips import NOTHING
from rankstream.streams.worker.chunks import Chunk

log = logging.getLogger(__name__)

RETRY_S = 1.0
TELL_S = 30.0  # between two lines about a registry that stays away


class FramedChunks:
    """Sees to it that the chunks of one topic can be made into JSON."""

    def __init__(self, reader: SchemaReader | None) -> None:
        self.away = ""  # why the registry gives no schema, while something waits for one
        self._reader = reader
        self._told_s = -TELL_S

    async def prepare(self, chunk: Chunk, is_wanted: Callable[[], bool], skipped: range = NOTHING) -> None:
        """Wait for the schemas of a chunk, and have its records read by them; or until it is not wanted any more.

        Nobody waits for those of offsets that are skipped.
        """
        reader, records = self._reader, chunk.records
        if skipped:
            records = [one for one in records if one.offset not in skipped]
        ids = set() if reader is None else schema_ids_of(records)
        if reader is None or not ids:
            return
        decoders = reader.known(ids)
        while ids - decoders.keys():
            if not is_wanted():
                self.away = ""
                return  # whoever processes chunks asks the same, and passes it over
            await self._learn(reader, ids - decoders.keys(), decoders)
        chunk.as_json = partial(reader.unframed, decoders=decoders)

    async def _learn(self, reader: SchemaReader, missing: Set[int], decoders: dict[int, Decode]) -> None:
        """Add the decoder of one more id; wait where the registry gives none."""
        schema_id = min(missing)
        try:
            decoders[schema_id] = await asyncio.to_thread(reader.learn, schema_id)
        except RegistryAwayError as exc:
            self._tell(schema_id, str(exc))
            await asyncio.sleep(RETRY_S)
            return
        if self.away:
            log.info("the schema registry answers again")
        self.away, self._told_s = "", -TELL_S

    def _tell(self, schema_id: int, why: str) -> None:
        self.away = why
        if monotonic() - self._told_s >= TELL_S:
            self._told_s = monotonic()
            log.warning("records wait for schema %d, and are not lost: %s", schema_id, why)
