"""What a worker holds now: memory and what it is made of, open files, threads, and how old its checkpoint is.

Nothing here grows with what is asked: a look costs some microseconds, and a few calls into RocksDB.
"""

import os
import threading
import tracemalloc
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from rankstream.streams.worker.checkpoint import Partition

STATM, DESCRIPTORS = Path("/proc/self/statm"), Path("/proc/self/fd")


@dataclass(frozen=True)
class Figures:
    """Of one worker process, as of one look; bytes that are not known are None."""

    resident_bytes: int | None  # of the process; None where there is no /proc
    python_bytes: int | None  # allocated by Python; None unless PYTHONTRACEMALLOC is set
    block_cache_bytes: int  # of RocksDB, shared by all partitions
    memtable_bytes: int  # of RocksDB, of all partitions: what is not in a file yet
    table_reader_bytes: int  # of RocksDB, outside of the block cache
    descriptors: int | None
    threads: int  # of Python
    partitions: int
    cached_users: int  # states in memory
    changed_users: int  # of these, not checkpointed yet
    checkpoint_age_s: float  # of the partition whose checkpoint is oldest
    actions: int  # applied since the partitions were opened
    requests: int  # read since then


def figures_of(partitions: Collection[Partition]) -> Figures:
    """Look at the partitions that are open, and at this process."""
    memory = [one.pipeline.users.store.memory_bytes() for one in partitions]
    users = [one.pipeline.users for one in partitions]
    counters = [one.pipeline.counters for one in partitions]
    return Figures(
        resident_bytes=resident_bytes(),
        python_bytes=tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else None,
        block_cache_bytes=max((one.block_cache for one in memory), default=0),
        memtable_bytes=sum(one.memtables for one in memory),
        table_reader_bytes=sum(one.table_readers for one in memory),
        descriptors=len(os.listdir(DESCRIPTORS)) if DESCRIPTORS.exists() else None,
        threads=threading.active_count(),
        partitions=len(partitions),
        cached_users=sum(one.num_cached for one in users),
        changed_users=sum(one.num_changed for one in users),
        checkpoint_age_s=round(max((monotonic() - one.checkpointed_at for one in partitions), default=0.0), 3),
        actions=sum(one.actions for one in counters),
        requests=sum(one.requests for one in counters),
    )


def resident_bytes() -> int | None:
    """Return what this process has in memory; None where the system does not tell."""
    if not STATM.exists():
        return None
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
