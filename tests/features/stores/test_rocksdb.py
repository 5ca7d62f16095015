import itertools
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from rankstream.features.stores.base import StoreRefusedError
from rankstream.features.stores.rocksdb import (
    INGESTED,
    INGESTED_RECORDS,
    DamagedStoreError,
    RocksConfig,
    RocksStore,
)
from tests.builders.patience import PATIENCE_S
from tests.contracts.user_store import UserStoreContract


class TestRocksStore(UserStoreContract):
    @pytest.fixture
    def open_store(self, tmp_path):
        numbers = itertools.count()
        return lambda: RocksStore(tmp_path / "state" / f"users-{next(numbers)}")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "users-0"


def test_what_was_written_is_there_after_reopening(folder):
    store = RocksStore(folder)
    store.write({b"u1": b"one"}, 5)
    store.close()
    again = RocksStore(folder)
    assert (again.get_many([b"u1"]), again.next_offset) == ([b"one"], 5)
    again.close()


def as_killed(folder, tmp_path):
    """What a kill at this moment would leave: what the files of an open database hold."""
    store = RocksStore(shutil.copytree(folder, tmp_path / "killed", dirs_exist_ok=True))
    try:
        return dict(store.items())
    finally:
        store.close()
        shutil.rmtree(tmp_path / "killed")


def test_records_without_a_log_survive_a_kill_from_the_flush_on(folder, tmp_path):
    store = RocksStore(folder)
    store.write({b"u1": b"logged"}, 5)
    store.write_unlogged({b"u2": b"one"})
    assert as_killed(folder, tmp_path) == {b"u1": b"logged"}
    store.flush()
    assert as_killed(folder, tmp_path) == {b"u1": b"logged", b"u2": b"one"}
    store.close()


def test_records_without_a_log_survive_a_close(folder):
    store = RocksStore(folder)
    store.write_unlogged({b"u1": b"one"})
    store.close()
    again = RocksStore(folder)
    assert dict(again.items()) == {b"u1": b"one"}
    again.close()


def test_many_records_without_a_log_are_a_file_that_a_kill_leaves_and_nothing_else(folder, tmp_path):
    """Over what was written before, in memory and in files, and under what is written after."""
    store, many = RocksStore(folder), {b"u%d" % user: b"new" for user in range(INGESTED_RECORDS)}
    store.write({b"u1": b"old", b"v": b"kept"}, 5)
    store.write_unlogged({key: b"first" for key in many})
    store.write_unlogged(many)
    assert as_killed(folder, tmp_path) == many | {b"v": b"kept"}
    assert (store.next_offset, (folder / INGESTED).exists()) == (5, False)
    store.write({b"u2": b"newest"}, 6)
    assert dict(store.items()) == many | {b"v": b"kept", b"u2": b"newest"}
    store.close()


WRITER = """
import sys
from pathlib import Path
from rankstream.features.stores.rocksdb import RocksStore
store = RocksStore(Path(sys.argv[1]))
for n in range(1, 10**9):
    store.write({b"u%d" % user: n.to_bytes(8, "little") for user in range(50)}, n)
    if n == 200: print("going", flush=True)
"""


def test_records_and_position_agree_after_a_kill(folder):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"going\n"
    time.sleep(0.05)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    store = RocksStore(folder)
    written = {int.from_bytes(record, "little") for _, record in store.items()}
    assert written == {store.next_offset}
    assert store.next_offset >= 200
    store.close()


def test_all_databases_of_a_process_share_one_budget_of_memory(tmp_path):
    config = RocksConfig(block_cache_bytes=64 << 20, memtables_bytes=16 << 20)
    stores = [RocksStore(tmp_path / f"users-{number}", config) for number in range(6)]
    record = os.urandom(10_000)
    for number in range(100):  # 120 MB in all, of which each database alone would keep 20 in memory
        for store in stores:
            store.write({b"u%d" % user: record for user in range(20)}, number)
    deadline = time.monotonic() + PATIENCE_S  # files are written in the background, on a machine that may be busy
    while sum(store.memory_bytes().memtables for store in stores) > 40e6:
        assert time.monotonic() < deadline, [store.memory_bytes() for store in stores]
        time.sleep(0.02)
    assert stores[0].memory_bytes().block_cache < 80e6
    for store in stores:
        store.close()


def test_a_full_disk_is_named_with_what_to_do_and_what_was_written_stays(folder):
    store = RocksStore(folder)
    store.write({b"u1": b"one"}, 5)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))  # files of this process grow no more
    try:
        with pytest.raises(StoreRefusedError, match=r"users-0 can't be written to \(IO error.*make room on its disk"):
            store.write({b"u2": b"two"}, 6)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    store.close()
    again = RocksStore(folder)
    assert (again.get_many([b"u1", b"u2"]), again.next_offset) == ([b"one", None], 5)
    again.close()


def test_a_locked_folder_is_refused_with_its_name_and_a_remedy(folder):
    owner = RocksStore(folder)
    with pytest.raises(StoreRefusedError, match=rf"{folder} is held by another process .* end that worker"):
        RocksStore(folder, wait_s=0.2)
    owner.close()


def test_a_new_owner_waits_until_the_old_one_lets_go(folder):
    owner = RocksStore(folder)
    owner.write({b"u1": b"one"}, 1)
    threading.Timer(0.3, owner.close).start()
    heir = RocksStore(folder, wait_s=10)
    assert heir.next_offset == 1
    heir.close()


def test_waiting_ends_when_it_is_given_up(folder):
    owner, give_up = RocksStore(folder), threading.Event()
    threading.Timer(0.2, give_up.set).start()
    with pytest.raises(StoreRefusedError):
        RocksStore(folder, wait_s=60, give_up=give_up)
    owner.close()


def test_a_damaged_folder_is_refused_with_its_name_and_a_remedy(folder):
    store = RocksStore(folder)
    store.write({b"u1": b"one"}, 1)
    store.close()
    manifest = next(folder.glob("MANIFEST-*"))
    os.truncate(manifest, 7)
    with pytest.raises(DamagedStoreError, match=rf"{folder} can't be read .*: move it away"):
        RocksStore(folder)


def test_a_damaged_position_is_refused(folder):
    store = RocksStore(folder)
    store._db[b"\xffnext"] = b"short"
    store.close()
    with pytest.raises(DamagedStoreError, match="position has 5 bytes"):
        RocksStore(folder)


def a_store_of_several_blocks(folder):
    store = RocksStore(folder)
    store.write({b"u%d" % user: os.urandom(200) for user in range(2_000)}, 2_000)
    store.close()
    return next(folder.glob("*.sst"))


def test_damage_that_is_found_later_is_remembered(folder):
    """RocksDB opens such a folder again, and again: it checks a block only when it is read."""
    table = a_store_of_several_blocks(folder)
    raw = bytearray(table.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    table.write_bytes(raw)
    store = RocksStore(folder)
    with pytest.raises(DamagedStoreError, match="block checksum mismatch"):
        store.get_many([b"u%d" % user for user in range(2_000)])
    store.close()
    with pytest.raises(DamagedStoreError, match="damage was found in it before"):
        RocksStore(folder)


@pytest.mark.parametrize("share", [0.001, 0.5])
def test_users_behind_a_damaged_block_do_not_just_end(folder, share):
    """Who copies all users would take those before it for all."""
    table = a_store_of_several_blocks(folder)
    raw = bytearray(table.read_bytes())
    raw[int(share * len(raw))] ^= 0xFF
    table.write_bytes(raw)
    store = RocksStore(folder)
    with pytest.raises(DamagedStoreError, match="block checksum mismatch"):
        list(store.items())
    store.close()
    with pytest.raises(DamagedStoreError, match="damage was found in it before"):
        RocksStore(folder)


def test_damage_that_the_opening_comes_across_is_no_lock(folder):
    """RocksDB says "block checksum mismatch", in which a lock may be read."""
    table = a_store_of_several_blocks(folder)
    raw = bytearray(table.read_bytes())
    raw[-300] ^= 0xFF  # of the index, which is read at once
    table.write_bytes(raw)
    with pytest.raises(DamagedStoreError, match="block checksum mismatch"):
        RocksStore(folder, wait_s=2)


@pytest.mark.parametrize("lost", ["*.sst", "MANIFEST-*", "CURRENT"])
def test_a_file_that_is_gone_is_damage_too(folder, lost):
    a_store_of_several_blocks(folder)
    next(folder.glob(lost)).unlink()
    with pytest.raises(DamagedStoreError):
        RocksStore(folder).get_many([b"u1"])


def test_what_may_pass_is_no_damage(folder):
    folder.write_text("a file, where a folder should be")
    with pytest.raises(StoreRefusedError, match="set that right and start again") as refused:
        RocksStore(folder)
    assert not isinstance(refused.value, DamagedStoreError)
