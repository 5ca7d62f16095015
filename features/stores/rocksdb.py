"""A store on disk: one RocksDB database a partition.

Records and position are written in one batch, so that they agree after any kill: the log of a killed
database is replayed in whole batches or not at all. It is written without fsync, which a kill of the process survives;
a power failure sets the store back to an earlier batch, position included, and the source is read again from there.
"""

import logging
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import monotonic

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    IngestExternalFileOptions,
    Options,
    Rdict,
    SstFileWriter,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from rankstream.features.stores.base import StoreMemory, StoreRefusedError

POSITION = b"\xffnext"  # no user's key: those are UTF-8, which has no byte 255; sorts behind them all
POSITION_BYTES = 8
SOURCE = b"\xffsource"  # what the position counts in; stores of older versions have none
NO_USERS = (POSITION, SOURCE)
DAMAGED = "DAMAGED"  # file: damage was found while the database was open
SIGNS_OF_DAMAGE = ("Corruption", "No such file")  # in RocksDB's messages
HELD = re.compile(r"lock hold by current process|While lock file: .*Resource temporarily unavailable")  # in these, too
RETRY_S = 0.1
INGESTED = "ingested.sst"  # file: until the database has taken it over, under a name of its own
INGESTED_RECORDS = 1_000  # and more are worth a file


class DamagedStoreError(StoreRefusedError):
    """A database whose contents can't be read."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: move it away and start again, and the changelog or the source refills it")
        self.what = what


@dataclass(frozen=True)
class RocksConfig:
    """How a database uses memory and disk."""

    block_cache_bytes: int = 256 << 20  # shared by all databases of the process, memtables included
    memtables_bytes: int = 128 << 20  # of it, for what all databases have not in files yet
    write_buffer_bytes: int = 32 << 20  # of one memtable; three of each database at most
    max_log_bytes: int = 128 << 20  # write-ahead log to replay after a kill
    background_jobs: int = 2


DEFAULT_CONFIG = RocksConfig()

UNLOGGED = WriteOptions()
UNLOGGED.disable_wal = True

log = logging.getLogger(__name__)


class RocksStore:
    """Keeps the records of one partition's users in a folder; see ``base.UserStore``."""

    def __init__(
        self,
        folder: Path,
        config: RocksConfig = DEFAULT_CONFIG,
        wait_s: float = 0.0,
        give_up: threading.Event | None = None,
    ) -> None:
        """Open or create the database; wait up to ``wait_s`` for another owner to release it.

        Raises ``StoreRefusedError`` when it stays locked (or ``give_up`` is set), ``DamagedStoreError`` when its
        contents are damaged, or were found so by the last who had it open.
        """
        self.folder = folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._options = _options(config)
        self._db = _open(folder, self._options, wait_s, give_up or threading.Event())
        try:
            self._next_offset = self._read_position()
            (self._source,) = self.get_many([SOURCE])
        except BaseException:
            self._db.close()
            raise

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
        batch = WriteBatch(raw_mode=True)
        batch.put(SOURCE, source)
        self._write(batch)
        self._source = source

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the records of these users in order, None for unknown ones."""
        if not keys:
            return []
        try:
            found: list[bytes | None] = self._db.get(list(keys))
        except Exception as exc:
            raise self._noted(exc) from exc
        return found

    def _noted(self, exc: Exception) -> StoreRefusedError:
        """Return why the database can't be read; damage is noted, as the next opening may not come across it."""
        refusal = _unreadable(self.folder, exc)
        if isinstance(refusal, DamagedStoreError):
            with suppress(OSError):
                (self.folder / DAMAGED).touch()
        return refusal

    def write(self, records: Mapping[bytes, bytes], next_offset: int | None) -> None:
        """Put the records and the position, both or neither; with None that stays what it is."""
        batch = WriteBatch(raw_mode=True)
        for key, record in records.items():
            batch.put(key, record)
        if next_offset is not None:
            batch.put(POSITION, next_offset.to_bytes(POSITION_BYTES, "little"))
        self._write(batch)
        self._next_offset = self._next_offset if next_offset is None else next_offset

    def write_unlogged(self, records: Mapping[bytes, bytes]) -> None:
        """Put records without the write-ahead log: many as a file, in half the time that memory would take them in."""
        if len(records) >= INGESTED_RECORDS:
            self._ingest(records)
            return
        batch = WriteBatch(raw_mode=True)
        for key, record in records.items():
            batch.put(key, record)
        self._write(batch, UNLOGGED)

    def _ingest(self, records: Mapping[bytes, bytes]) -> None:
        """Hand the database a file of records. Raises ``StoreRefusedError``."""
        file, options = str(self.folder / INGESTED), IngestExternalFileOptions()
        options.set_move_files(True)
        with self._writing():
            writer = SstFileWriter(self._options)
            writer.open(file)
            for key in sorted(records):
                writer[key] = records[key]
            writer.finish()
            self._db.ingest_external_file([file], options)

    def flush(self) -> None:
        """Have on disk what was written. Raises ``StoreRefusedError``."""
        with self._writing():
            self._db.flush()

    def _write(self, batch: WriteBatch, options: WriteOptions | None = None) -> None:
        """Write a batch. Raises ``StoreRefusedError``; RocksDB takes nothing more then, until it is opened again."""
        with self._writing():
            self._db.write(batch, options)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as exc:  # rocksdict raises nothing narrower
            raise StoreRefusedError(
                f"the state folder {self.folder} can't be written to ({str(exc).strip()}): make room on its disk, or "
                "set right what that says, and start again; nothing that was acknowledged is lost"
            ) from exc

    def items(self, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield all records, ordered by key; those of greater keys than ``after``.

        Raises ``DamagedStoreError`` where the rest can't be read.

        The library's own iteration just ends at a damaged block, as if there were no more users.
        """
        found = self._db.iter()
        if after:
            found.seek(after)
        else:
            found.seek_to_first()
        while found.valid():
            key: bytes = found.key()
            if key not in NO_USERS and (key != after or not after):
                yield key, found.value()
            found.next()
        try:
            found.status()
        except Exception as exc:  # rocksdict raises nothing narrower
            raise self._noted(exc) from exc

    def size_bytes(self) -> int:
        """Estimate what the records take, in bytes: tables on disk and what is still in memory."""
        tables = self._db.property_int_value("rocksdb.estimate-live-data-size") or 0
        return tables + (self._db.property_int_value("rocksdb.cur-size-all-mem-tables") or 0)

    def memory_bytes(self) -> StoreMemory:
        """Return what RocksDB has in memory; the block cache is that of all databases."""
        names = ("block-cache-usage", "size-all-mem-tables", "estimate-table-readers-mem")
        return StoreMemory(*(self._db.property_int_value(f"rocksdb.{name}") or 0 for name in names))

    def close(self) -> None:
        """Release files and the lock; after a failed write they are, too."""
        try:
            self._db.close()
        except Exception as exc:  # it is closed nevertheless, and the write that failed was reported
            log.warning(
                "%s was closed with an error, so what is in its log is read at the next opening: %s", self.folder, exc
            )

    def _read_position(self) -> int | None:
        (raw,) = self.get_many([POSITION])
        if raw is None:
            return None
        if len(raw) != POSITION_BYTES:
            raise _unreadable(self.folder, f"Corruption: its position has {len(raw)} bytes instead of {POSITION_BYTES}")
        return int.from_bytes(raw, "little")


def _open(folder: Path, options: Options, wait_s: float, give_up: threading.Event) -> Rdict:
    """Open the database, again and again while its lock is held."""
    deadline = monotonic() + wait_s
    while True:
        try:
            if (folder / DAMAGED).exists():
                raise OSError(f"Corruption: damage was found in it before, as the file {DAMAGED} says")
            return Rdict(str(folder), options)
        except Exception as exc:
            if not _is_lock(str(exc)):
                raise _unreadable(folder, exc) from exc
            if monotonic() >= deadline or give_up.wait(RETRY_S):
                raise StoreRefusedError(
                    f"the state folder {folder} is held by another process (waited {wait_s:g} s): "
                    "end that worker, or give this one a state folder of its own"
                ) from exc


def _is_lock(message: str) -> bool:
    """Return whether another has RocksDB's lock: neither a damaged block nor a file system without locks is that."""
    return HELD.search(message) is not None


def _unreadable(folder: Path, why: object) -> StoreRefusedError:
    """Tell damage from what may pass: a full disk, a missing right, too many open files."""
    what = f"the state folder {folder} can't be read ({str(why).strip()})"
    if any(sign in str(why) for sign in SIGNS_OF_DAMAGE):
        return DamagedStoreError(what)
    return StoreRefusedError(f"{what}: set that right and start again")


@cache
def _block_cache(size_bytes: int) -> Cache:
    """Return the one cache of this size that all databases of the process share."""
    return Cache(size_bytes)


@cache
def _memtables(size_bytes: int, within: Cache) -> WriteBufferManager:
    """Return the one budget of memtables that all databases of the process share, counted within the block cache.

    Without it each database may have three memtables, and a worker of many partitions a gigabyte of them. Where the
    budget is used up, a database that is written to writes its memtable to a file early; nobody waits for that.
    """
    return WriteBufferManager.new_write_buffer_manager_with_cache(size_bytes, False, within)


def _options(config: RocksConfig) -> Options:
    table = BlockBasedOptions()
    block_cache = _block_cache(config.block_cache_bytes)
    table.set_block_cache(block_cache)
    table.set_bloom_filter(10, False)  # 10 bits a key: 1 % of look-ups of unknown users touch the disk
    table.set_cache_index_and_filter_blocks(True)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(table)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_write_buffer_manager(_memtables(config.memtables_bytes, block_cache))
    options.set_write_buffer_size(config.write_buffer_bytes)
    options.set_max_write_buffer_number(3)
    options.set_max_total_wal_size(config.max_log_bytes)
    options.set_max_background_jobs(config.background_jobs)
    options.set_keep_log_file_num(3)
    return options
