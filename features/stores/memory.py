"""A store in memory: for tests, for replay, and to compare the one on disk with."""

from collections.abc import Iterator, Mapping, Sequence

from rankstream.features.stores.base import NO_MEMORY, StoreMemory


class MemoryStore:
    """Keeps the records of one partition's users in a dictionary; see ``base.UserStore``."""

    def __init__(self) -> None:
        self._records: dict[bytes, bytes] = {}
        self._next_offset: int | None = None
        self._source: bytes | None = None

    @property
    def next_offset(self) -> int | None:
        """Source offset to read on from; None in a new store."""
        return self._next_offset

    @property
    def source(self) -> bytes | None:
        """What the position counts in, as it was set; None where nobody has said."""
        return self._source

    def set_source(self, source: bytes) -> None:
        """Note what the position counts in."""
        self._source = source

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the records of these users in order, None for unknown ones."""
        return [self._records.get(key) for key in keys]

    def write(self, records: Mapping[bytes, bytes], next_offset: int | None) -> None:
        """Put the records and the position; with None that stays what it is."""
        self._records.update(records.items())
        if next_offset is not None:
            self._next_offset = next_offset

    def write_unlogged(self, records: Mapping[bytes, bytes]) -> None:
        """Put the records; all is lost in a kill."""
        self._records.update(records.items())

    def flush(self) -> None:
        """Do nothing: there is no disk."""

    def items(self, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield all records, ordered by key; those of greater keys than ``after``."""
        return ((key, record) for key, record in sorted(self._records.items()) if key > after or not after)

    def size_bytes(self) -> int:
        """Return the bytes of keys and values."""
        return sum(len(key) + len(record) for key, record in self._records.items())

    def memory_bytes(self) -> StoreMemory:
        """Return nothing: all is Python's."""
        return NO_MEMORY

    def close(self) -> None:
        """Release nothing: nothing is open."""
