"""Users of whom nothing came for long give way to their mark, in whatever engine they are kept."""

import importlib.util

import pytest

from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.features.stores.rocksdb import RocksStore
from rankstream.features.user_state import unpack_state
from rankstream.streams.engine import open_engine
from rankstream.streams.worker import sweep
from rankstream.streams.worker.sweep import Sweep, newest_ms_in
from tests.builders.actions import MORNING_MS, a_state, an_action, an_erasure

DAY_S = 86_400
DAY_MS = 1000 * DAY_S
ENGINES = ["plain", "compiled"]


def some_users(store, engine: str = "plain") -> UserCache:
    """Users u0 to u9, of whom each acted a day after the one before; forgotten after 5 days."""
    if engine == "compiled" and importlib.util.find_spec("numba") is None:
        pytest.skip("numba is not installed: pip install 'rankstream[fast]'")
    store.write({b"u%d" % day: a_state(an_action("a", day * DAY_S)).pack() for day in range(10)}, 10)
    return open_engine(engine).users(store, forget_after_ms=5 * DAY_MS)


@pytest.mark.parametrize("engine", ENGINES)
def test_who_was_silent_for_long_gives_way_to_a_mark(engine: str, tmp_path):
    users = some_users(RocksStore(tmp_path / "users"), engine)
    assert Sweep(users).go_on(MORNING_MS + 9 * DAY_MS) == 3  # a day is left for what comes late
    changes = users.take_changes(11)
    assert sorted(changes.records) == [b"u0", b"u1", b"u2"]
    assert (
        changes.records[b"u2"]
        == unpack_state(a_state(an_action("a", 2 * DAY_S)).pack()).erased(MORNING_MS + 2 * DAY_MS).pack()
    )
    users.commit(changes)
    assert Sweep(users).go_on(MORNING_MS + 9 * DAY_MS) == 0
    users.store.close()


def test_it_goes_on_where_it_left_off_and_begins_again(monkeypatch):
    monkeypatch.setattr(sweep, "AT_ONCE", 3)
    users = some_users(MemoryStore())
    going, late_ms = Sweep(users), MORNING_MS + 99 * DAY_MS
    assert [going.go_on(late_ms) for _ in range(4)] == [3, 3, 3, 1]
    users.commit(users.take_changes(11))
    assert [going.go_on(late_ms) for _ in range(2)] == [0, 0]


@pytest.mark.parametrize("engine", ENGINES)
def test_who_acted_since_the_store_was_written_stays(engine: str):
    users = some_users(MemoryStore(), engine)
    users.put(b"u0", users.get(b"u0").apply([an_action("b", 9 * DAY_S)], 10, 0).state)
    assert Sweep(users).go_on(MORNING_MS + 9 * DAY_MS) == 2
    assert users.get(b"u0").total == 2


def test_without_a_limit_nobody_is_looked_at():
    users = some_users(MemoryStore())
    users.forget_after_ms = 0
    users.store = None  # type: ignore[assignment]
    assert Sweep(users).go_on(MORNING_MS + 99 * DAY_MS) == 0


def test_the_time_of_the_newest_action_is_read_without_the_rest():
    assert newest_ms_in(a_state(an_action("a", 1), an_action("b", 7)).pack()) == MORNING_MS + 7000
    assert newest_ms_in(a_state(an_erasure(3), an_action("b", 7)).pack()) == MORNING_MS + 7000
    assert newest_ms_in(a_state(an_erasure(3)).pack()) == newest_ms_in(a_state().pack()) == 0
