"""Users in slots: who is forgotten, that those who stay are what they were, and that no memory is asked for anew."""

import numpy as np
import pytest

from rankstream.features.stores.memory import MemoryStore
from tests.builders.actions import a_state, an_action

pytest.importorskip("numba")

from rankstream.streams.compiled import users as users_of_slots
from rankstream.streams.compiled.arena import Arena
from rankstream.streams.compiled.room import Room
from rankstream.streams.compiled.users import ArenaUsers

KEYS = [b"u%d" % n if n % 2 else b"user-of-a-long-name-%d" % n for n in range(60)]
RECORDS = {key: a_state(*[an_action(f"i{n}", n) for n in range(1 + row % 5)]).pack() for row, key in enumerate(KEYS)}


def an_arena() -> Arena:
    """Return one with all users, of whom the later ones came later."""
    arena = Arena(limit=100)
    for turn in range(0, len(KEYS), 10):
        arena._turn = turn
        arena.enter(KEYS[turn : turn + 10], [RECORDS[key] for key in KEYS[turn : turn + 10]])
    return arena


def states_in(arena: Arena) -> dict[bytes, bytes]:
    """Return the record of each user who is found."""
    slots = arena.slots_of(KEYS)
    found = [key for key, slot in zip(KEYS, slots.tolist(), strict=True) if slot >= 0]
    return dict(zip(found, arena.pack(slots[slots >= 0]).states(), strict=True))


def test_those_of_whom_nothing_came_for_longest_are_forgotten_and_the_others_are_what_they_were():
    arena = an_arena()
    arena.forget(most=20)
    assert len(arena) == 20
    assert states_in(arena) == {key: RECORDS[key] for key in KEYS[-20:]}


def test_users_who_are_changed_stay_whenever_they_came():
    arena = an_arena()
    for slot in arena.slots_of(KEYS[:5]).tolist():
        arena.mark_changed(slot)
    arena.forget(most=3)
    assert states_in(arena) == {key: RECORDS[key] for key in KEYS[:5]}
    assert dict(arena.take_changed()) == {key: RECORDS[key] for key in KEYS[:5]}


def test_who_comes_next_takes_a_slot_that_is_free():
    arena = an_arena()
    for _ in range(4):
        arena.forget(most=20)
        gone = [key for key in KEYS if arena.slots_of([key])[0] < 0]
        arena._turn += 1
        arena.enter(gone[:30], [RECORDS[key] for key in gone[:30]])
        assert states_in(arena) == {key: RECORDS[key] for key in states_in(arena)}
        assert (len(arena), arena.num_slots) == (50, len(KEYS))
    arena.enter([*gone[30:], b"one", b"two"], [RECORDS[key] for key in gone[30:]] + [None, RECORDS[KEYS[3]]])
    assert states_in(arena) == RECORDS
    assert arena.num_slots == len(KEYS) + 2


def test_a_user_who_comes_into_a_slot_of_another_has_nothing_of_him():
    arena = an_arena()
    arena.forget(most=0)
    arena.enter([b"new"], [None])
    (state,) = arena.pack(arena.slots_of([b"new"])).states()
    assert state == a_state().pack()


def test_a_cache_holds_as_many_users_as_it_may_and_gives_the_slots_of_a_burst_back(monkeypatch):
    store = MemoryStore()
    store.write(RECORDS, 1)
    many = ArenaUsers(store, max_cached=25)
    many.get_many(KEYS)
    many.commit(many.take_changes(2))
    assert (many.num_cached, many.arena.num_slots) == (25, len(KEYS))
    monkeypatch.setattr(users_of_slots, "MANY_BETWEEN", 9)
    many.put(KEYS[0], a_state(an_action("new", 99)))
    many.get_many(KEYS)
    many.commit(many.take_changes(3))
    assert many.arena.num_slots == many.num_cached == 0
    assert [state.pack() for state in many.get_many(KEYS[1:])] == [RECORDS[key] for key in KEYS[1:]]


def test_a_buffer_is_used_again_once_nobody_has_it_or_a_part_of_it():
    room = Room(most_bytes=10_000)
    one = room.take(1_000)
    address = one.ctypes.data
    part: np.ndarray | None = one[:10]
    assert room.take(1_000).ctypes.data != address
    del one
    assert room.take(1_000).ctypes.data != address
    part = None
    assert part is None
    assert address in {taken.ctypes.data for taken in (room.take(1_000), room.take(1_000))}


def test_room_keeps_no_more_than_it_may():
    room = Room(most_bytes=10_000)
    taken = [room.take(3_000) for _ in range(5)]
    assert room.held_bytes <= 10_000
    assert len({one.ctypes.data for one in taken}) == 5
    del taken
    room.take(7_900)
    assert room.held_bytes <= 10_000
