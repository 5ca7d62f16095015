"""Which records of a source are in hand, kept where the death of the process leaves it: a file beside the users.

A record may kill the process (a segmentation fault in a library, memory that is short), and then each of its heirs, as
each reads it again. So the offsets in hand are noted before they are worked on, and struck out afterwards::

    died with 100 to 199 in hand      they are suspects: one at a time from now on
    died with 137 alone               137 has killed once, which another cause may have had
    died with 137 alone, again        137 is a killer: it is passed over unread, and goes to the dead letters

An exception strikes them out too: that is an error of the surroundings, or is a dead letter already. What is noted is
written without fsync, which a death of the process survives; a power failure is no record's fault.
"""

import logging
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rankstream.events.action_event import Record
from rankstream.features.stores.folder import unusable

log = logging.getLogger(__name__)

RANGE = struct.Struct("<qq")  # first offset, and the one behind the last
ALONE = struct.Struct("<qq")  # offset of the record that the process died with alone, and how often it has
COUNT = struct.Struct("<q")
AT_SUSPECTS, AT_ALONE, AT_KILLERS = RANGE.size, 2 * RANGE.size, 2 * RANGE.size + ALONE.size
DEATHS = 2  # with one record alone in hand, that make it a killer
MAX_KILLERS = 1_000  # that are remembered until a checkpoint has passed them
NOTHING = (0, 0)


class InHand:
    """The records of one source partition that are worked on now, and those that a process died of before."""

    def __init__(self, path: Path | None = None, name: str = "", position: int = 0) -> None:
        """Read what the last process has left; what lies before ``position`` is done. Without a path nothing is kept.

        ``name`` is the source's, for the log.
        """
        self.killers: list[int] = []
        self._suspects = NOTHING
        self._file: int | None = None
        if path is not None:
            self._folder = path.parent
            try:
                self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as exc:
                raise unusable(self._folder, exc) from exc
            self._take_over(name, position)

    def parts(self, records: Sequence[Record], at_once: int) -> Iterator[Sequence[Record]]:
        """Cut records, in order, into what may be worked on together: suspects and killers alone."""
        if not records or records[0].offset > max([self._suspects[1] - 1, *self.killers]):
            yield from _slices(records, at_once)  # nobody died of any of these
            return
        start = 0
        for at, record in enumerate(records):
            if self._is_alone(record.offset):
                yield from _slices(records[start:at], at_once)
                yield records[at : at + 1]
                start = at + 1
        yield from _slices(records[start:], at_once)

    @contextmanager
    def held(self, records: Sequence[Record]) -> Iterator[None]:
        """Note these records while they are worked on."""
        self._write(0, RANGE.pack(records[0].offset, records[-1].offset + 1))
        try:
            yield
        finally:
            self._write(0, RANGE.pack(*NOTHING))

    def close(self) -> None:
        """Close the file; nothing is noted any more."""
        if self._file is not None:
            os.close(self._file)
        self._file = None

    def _is_alone(self, offset: int) -> bool:
        return self._suspects[0] <= offset < self._suspects[1] or offset in self.killers

    def _write(self, at: int, packed: bytes) -> None:
        if self._file is not None:
            try:
                os.pwrite(self._file, packed, at)
            except OSError as exc:
                raise unusable(self._folder, exc) from exc

    def _take_over(self, name: str, position: int) -> None:
        """Draw the conclusions from what was in hand at the end of the last process, and keep them."""
        kept = _read(self._file)
        self._suspects = RANGE.unpack_from(kept, AT_SUSPECTS)
        alone, deaths = ALONE.unpack_from(kept, AT_ALONE)
        (count,) = COUNT.unpack_from(kept, AT_KILLERS)
        killers = struct.unpack_from(f"<{max(0, min(count, MAX_KILLERS))}q", kept, AT_KILLERS + COUNT.size)
        self.killers = [offset for offset in killers if offset >= position]
        begin, end = RANGE.unpack_from(kept, 0)
        if begin < end:
            log.error("%s: the last process ended with offsets %d to %d in hand: one at a time", name, begin, end - 1)
            if not self._suspects[0] <= begin < self._suspects[1]:
                self._suspects = (begin, end)
            if end - begin == 1:
                alone, deaths = begin, deaths + 1 if alone == begin else 1
            if end - begin == 1 and deaths >= DEATHS:
                log.error("%s: offset %d killed the process %d times: it is passed over unread", name, begin, deaths)
                self.killers = [*self.killers, begin][-MAX_KILLERS:]
        self._keep(alone, deaths)

    def _keep(self, alone: int, deaths: int) -> None:
        killers = struct.pack(f"<{len(self.killers)}q", *self.killers)
        head = RANGE.pack(*NOTHING) + RANGE.pack(*self._suspects) + ALONE.pack(alone, deaths)
        self._write(0, head + COUNT.pack(len(self.killers)) + killers)


def _read(file: int | None) -> bytes:
    """Return what the file holds, with zeros behind it: a new one is empty."""
    size = AT_KILLERS + COUNT.size + 8 * MAX_KILLERS
    kept = b"" if file is None else os.pread(file, size, 0)
    return kept.ljust(size, b"\0")


def _slices(records: Sequence[Record], at_once: int) -> Iterator[Sequence[Record]]:
    for at in range(0, len(records), at_once):
        yield records[at : at + at_once]
