"""The operator of the workers does what they ask for, and no more."""

from pathlib import Path

import pytest

from chaos.system import Slot, to_be_moved
from rankstream.streams.settings import Settings

SENTENCE = (
    "[CRITICAL] the worker ends: DamagedStoreError: the state folder {folder} can't be read (Corruption: block "
    "checksum mismatch): move it away and start again, and the changelog or the source refills it"
)


@pytest.mark.parametrize(
    ("log", "folder"),
    [
        (SENTENCE.format(folder="/state/app/user-actions-1"), Path("/state/app/user-actions-1")),
        ("partition 1: the state folder /state/a can't be read (Corruption); it was moved to /state/b", None),
        ("the state folder /state/a can't be written to (No space left on device): make room on its disk", None),
        ("", None),
    ],
)
def test_what_is_to_be_moved_is_what_a_worker_said_so_of(log, folder):
    assert to_be_moved(log) == folder


def test_a_folder_is_moved_once_and_only_within_the_workers_own(tmp_path):
    own, others = tmp_path / "state" / "app" / "user-actions-1", tmp_path / "other" / "user-actions-1"
    for folder in (own, others):
        folder.mkdir(parents=True)
    slot = Slot(0, Settings(state_dir=tmp_path / "state"), tmp_path, log=tmp_path / "worker.log")
    slot.log.write_text(SENTENCE.format(folder=others))
    assert not slot.do_as_told()
    slot.log.write_text(SENTENCE.format(folder=own))
    assert slot.do_as_told()
    assert not slot.do_as_told()
    assert (own.exists(), others.exists()) == (False, True)
