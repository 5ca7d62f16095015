"""Where the user records of one partition are kept: what every store promises.

A store knows bytes only. What it adds to a dictionary is one thing: records and the position they belong to
change together or not at all. Beside the position stands what it is a position *in*: an offset alone says nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class StoreRefusedError(RuntimeError):
    """A store that can't be used; the message is one sentence, with what to do."""


@dataclass(frozen=True)
class StoreMemory:
    """What a store takes of the process's memory besides Python's objects, in bytes."""

    block_cache: int = 0  # shared by all stores of the process
    memtables: int = 0  # written, and not in a file yet
    table_readers: int = 0  # indexes of files, outside of the block cache


NO_MEMORY = StoreMemory()


class UserStore(Protocol):
    """Records of the users of one partition, and the partition's next source offset."""

    @property
    def next_offset(self) -> int | None:
        """Source offset to read on from: all before it are in the records. None in a new store."""
        ...

    @property
    def source(self) -> bytes | None:
        """What the position counts in, as it was set; None where nobody has said."""
        ...

    def set_source(self, source: bytes) -> None:
        """Note what the position counts in."""
        ...

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the records of these users in order, None for unknown ones."""
        ...

    def write(self, records: Mapping[bytes, bytes], next_offset: int | None) -> None:
        """Put the records and the position, both or neither; with None the position stays what it is.

        A position says that all before it is in the records, so it is only ever written with a complete set.
        """
        ...

    def write_unlogged(self, records: Mapping[bytes, bytes]) -> None:
        """Put records that may be lost in a kill until ``flush``: of a restore, which would begin again."""
        ...

    def flush(self) -> None:
        """Have on disk what was written."""
        ...

    def items(self, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield all records, ordered by key; those of greater keys than ``after``."""
        ...

    def size_bytes(self) -> int:
        """Estimate what the records take, in bytes."""
        ...

    def memory_bytes(self) -> StoreMemory:
        """Return what the store takes of memory besides Python's objects."""
        ...

    def close(self) -> None:
        """Release files and locks; the store must not be used afterwards."""
        ...
