"""Records of all partitions of a topic as one log, in the order of their times: what a replay of a topic reads.

Each partition is in order by itself; the oldest of their next records is the next one of all. No partition runs far
ahead of the others, so memory does not grow with the topic.
"""

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rankstream.events.action_event import Record

READ_AHEAD = 20_000  # records of a partition that wait for the others


class Partitioned(Protocol):
    """The part of ``readers.TopicReader`` used here."""

    def bounds(self) -> Mapping[int, tuple[int, int]]:
        """Return partition -> offset of its first record and after its last one."""
        ...

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Read on at these offsets, of these partitions only."""
        ...

    def pause(self, numbers: Collection[int]) -> None:
        """Hold back these partitions, and no others."""
        ...

    def position(self, number: int) -> int:
        """Return the offset that is read next."""
        ...

    def poll(self) -> Sequence[Record]:
        """Return what has come, perhaps nothing."""
        ...


class Ahead:
    """The offsets wanted of one partition, and its records that wait."""

    def __init__(self, begin: int, end: int) -> None:
        self.begin, self.end = begin, end
        self.waiting: deque[Record] = deque()


@dataclass(frozen=True)
class OffsetRange:
    """Offsets wanted of each partition; what is not there any more is left out."""

    first: int = 0
    end: int | None = None

    def __contains__(self, offset: int) -> bool:
        return self.first <= offset and (self.end is None or offset < self.end)

    def of(self, begin: int, end: int) -> tuple[int, int]:
        """Return first and end within what a partition holds."""
        return max(begin, self.first), end if self.end is None else min(end, self.end)


EVERYTHING = OffsetRange()


def in_time_order(reader: Partitioned, wanted: OffsetRange = EVERYTHING) -> Iterator[Record]:
    """Yield the records that the topic holds now, oldest first. Raises ``ClientError``."""
    partitions = {number: Ahead(*wanted.of(*bounds)) for number, bounds in reader.bounds().items()}
    partitions = {number: one for number, one in partitions.items() if one.begin < one.end}
    reader.seek({number: one.begin for number, one in partitions.items()})
    while partitions:
        dry = [number for number, one in partitions.items() if not one.waiting]
        if dry:
            _read_on(reader, partitions)
            for number in [number for number in dry if not partitions[number].waiting]:
                if reader.position(number) >= partitions[number].end:
                    del partitions[number]
            continue
        number = min(partitions, key=lambda number: (partitions[number].waiting[0].timestamp, number))
        yield partitions[number].waiting.popleft()
        if not partitions[number].waiting and reader.position(number) >= partitions[number].end:
            del partitions[number]


def _read_on(reader: Partitioned, partitions: Mapping[int, Ahead]) -> None:
    """Read where records are missing."""
    reader.pause([number for number, one in partitions.items() if len(one.waiting) >= READ_AHEAD])
    for record in reader.poll():
        one = partitions.get(record.partition)
        if one is not None and record.offset < one.end:
            one.waiting.append(record)
