"""A state folder that can't be worked in is one sentence, with whose it is or what stands in its way."""

import errno
import os
import re

import pytest

from rankstream.features.stores.base import StoreRefusedError
from rankstream.features.stores.folder import usable_folder
from rankstream.features.stores.rocksdb import RocksStore
from tests.builders.somebody_else import entered_by_all, somebody_else


def refused(folder):
    with pytest.raises(StoreRefusedError) as caught:
        usable_folder(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_is_made_and_nothing_is_left_in_it(tmp_path):
    (tmp_path / "linked").symlink_to(tmp_path)
    usable_folder(tmp_path / "linked" / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_what_stands_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("file", "dangling", "loop"):
        for folder in (tmp_path / name, tmp_path / name / "app"):
            assert f"{tmp_path / name} stands in its way: mount what it should lead to" in refused(folder)


def test_a_folder_of_another_user_is_named_with_both():
    with entered_by_all() as folder:
        (folder / "state").mkdir(mode=0o755)
        with somebody_else():
            told = refused(folder / "state" / "app")
    assert re.search(r"state belongs to user root and this is user \w+: run as that user, or give", told)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EROFS, "mount its file system so that it can be written to"),
        (errno.ENOSPC, "make room on its disk"),
        (errno.EDQUOT, "make room on its disk"),
        (errno.ENOLCK, "its file system has no locks"),
        (errno.EIO, "set that right and start again"),
    ],
)
def test_what_a_disk_refuses_has_a_remedy_each(tmp_path, monkeypatch, number, remedy):
    def fail(*given):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("rankstream.features.stores.folder.fcntl.lockf", fail)
    told = refused(tmp_path / "state")
    assert told.startswith(f"the state folder {tmp_path / 'state'} can't be used ({os.strerror(number)}): {remedy}")
    assert list((tmp_path / "state").iterdir()) == []


def test_a_file_system_without_locks_is_not_taken_for_a_folder_that_is_held(tmp_path, monkeypatch):
    """RocksDB names its lock in both; a wait for the owner would be one for nobody."""

    def fail(*given):
        raise RuntimeError(f"IO error: While lock file: {tmp_path}/LOCK: No locks available")

    monkeypatch.setattr("rankstream.features.stores.rocksdb.Rdict", fail)
    with pytest.raises(StoreRefusedError, match=r"No locks available.*set that right"):
        RocksStore(tmp_path, wait_s=60)
