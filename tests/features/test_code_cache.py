"""Machine code is found by what it was made of, wherever the sources lie, and where it can't be kept all else works."""

import os
import resource
import shutil
import sys
import tempfile
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from threading import Event, Thread

import pytest

pytest.importorskip("numba", reason="numba is not installed: pip install 'rankstream[fast]'")

import numba

from rankstream.features.compiled import code_cache
from rankstream.features.compiled.code_cache import CodeCache

SOURCE = "def doubled(x):\n    return x + x\n"
NOBODY = 65534


@pytest.fixture
def root(monkeypatch):
    """A folder that others than root can read too, and where code is kept."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder / "kept"))
    yield folder
    shutil.rmtree(folder)


def a_room(checkout, source=SOURCE, baked_in=(2,)):
    """The cache of a room with one module, in a checkout of its own."""
    checkout.mkdir(exist_ok=True)
    (checkout / "doubling.py").write_text(source)
    return CodeCache(checkout, baked_in)


def a_kernel(room):
    spec = spec_from_file_location("doubling", room.room / "doubling.py")
    sys.modules["doubling"] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    kernel = room.kernel(numba.int64)(module.doubled)
    assert kernel(21) == 42
    return kernel


def was_kept(kernel):
    return [sum(counts.values()) for counts in (kernel.stats.cache_hits, kernel.stats.cache_misses)] == [1, 0]


@contextmanager
def nobody_may_write(folder):
    """Be somebody whom the folder can only be read by: root may write anywhere."""
    folder.chmod(0o555)
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)
        folder.chmod(0o755)


def test_a_second_checkout_of_the_same_code_compiles_nothing(root):
    assert not was_kept(a_kernel(a_room(root / "one")))
    assert was_kept(a_kernel(a_room(root / "two")))


def test_other_sources_other_constants_and_other_compilers_have_folders_of_their_own(root, monkeypatch):
    one = a_room(root / "one").folder
    others = [a_room(root / "other", SOURCE + "\n").folder, a_room(root / "other", baked_in=(3,)).folder]
    monkeypatch.setattr(numba, "__version__", "0.0")
    assert len({one, *others, a_room(root / "one").folder}) == 4


def test_code_of_another_processor_is_not_taken_and_stays(root, monkeypatch):
    a_kernel(a_room(root / "one"))
    with monkeypatch.context() as other:
        other.setattr(numba.config, "CPU_NAME", "x86-64")
        assert not was_kept(a_kernel(a_room(root / "one")))
        assert was_kept(a_kernel(a_room(root / "one")))
    assert was_kept(a_kernel(a_room(root / "one")))


def test_a_folder_that_can_only_be_read_serves_as_it_was_filled(root, caplog):
    a_kernel(a_room(root / "one"))
    room = a_room(root / "two")
    with nobody_may_write(room.folder), room.one_at_a_time():
        assert was_kept(a_kernel(room))
    assert [record for record in caplog.records if record.name == code_cache.__name__] == []


def test_an_empty_folder_that_can_only_be_read_costs_compiling_and_is_said_once(root, caplog):
    room = a_room(root / "one")
    with nobody_may_write(room.folder), room.one_at_a_time():
        assert not was_kept(a_kernel(room))
        a_kernel(room)
    assert not any(room.folder.iterdir())
    assert caplog.text.count("set NUMBA_CACHE_DIR") == 1
    assert "Permission denied" in caplog.text


def test_code_that_is_kept_but_damaged_is_compiled_again(root, caplog):
    a_kernel(a_room(root / "one"))
    (kept,) = root.glob("kept/*/*.nbc")
    kept.write_bytes(kept.read_bytes()[:99])
    a_kernel(a_room(root / "one"))
    assert f"can't be kept in {kept.parent}, or taken from there" in caplog.text


def test_a_full_disk_leaves_no_half_of_a_file(root, caplog):
    room, (_, hard) = a_room(root / "one"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        a_kernel(room)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert not any(room.folder.iterdir())
    assert "File too large" in caplog.text


def test_of_two_that_start_together_one_waits_until_the_other_has_compiled(root):
    first, second = a_room(root / "one"), a_room(root / "two")
    entered = Event()

    def enter():
        with second.one_at_a_time():
            entered.set()

    with first.one_at_a_time():
        waiting = Thread(target=enter)
        waiting.start()
        assert not entered.wait(0.1)
    waiting.join()
    assert entered.is_set()


def test_other_code_that_numba_compiles_is_kept_where_it_ever_was(root, monkeypatch):
    a_kernel(a_room(root / "one"))  # numba reads the environment when it compiles, once
    monkeypatch.setattr(numba.config, "CACHE_DIR", "elsewhere")
    a_kernel(a_room(root / "one"))
    assert numba.config.CACHE_DIR == "elsewhere"
    assert not numba.config.CACHE_LOCATOR_CLASSES
